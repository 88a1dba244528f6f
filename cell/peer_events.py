"""Whether another cell has told all its events of wallets that it gave away: asked of it with this cell's own token.

Only a plain answer counts; a cell that is down, behind in its software or unsure has said nothing. Decides nothing.
"""

import time
from collections.abc import Sequence
from typing import Final

import httpx
from pydantic import ValidationError

from cell.cell_tokens import CellTokens
from contract.published import Asked, Published

TIMEOUT_S: Final = 3.0
"""For one address; nobody who moves money waits for it."""


class PeerEvents:
    def __init__(self, tokens: CellTokens, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """`transport`: another way to the cells than sockets."""
        self._tokens = tokens
        self._client = httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S, transport=transport)

    async def close(self) -> None:
        await self._client.aclose()

    async def ask(self, admin_urls: Sequence[str], asked: Asked) -> Published | None:
        """The first address that answers; all of them are the same cell's. None = nobody said anything."""
        headers = {"authorization": self._tokens.authorization(time.time()), "content-type": "application/json"}
        body = asked.model_dump_json()
        for url in admin_urls:
            try:
                answer = await self._client.post(f"{url.rstrip('/')}/admin/published", headers=headers, content=body)
                if answer.status_code == httpx.codes.OK:
                    return Published.model_validate_json(answer.content)
            except (httpx.HTTPError, httpx.InvalidURL, ValidationError):
                continue
        return None

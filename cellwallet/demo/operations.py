"""What an operator does for the day, where the demo has an operator's token: limits, a checkpoint, a cell's public key.

The key comes from the control plane and not from the cell that it is used against. Knows no scene.
"""

from typing import Any

import httpx

from cellwallet.demo.stage import DayMustGoAsToldError
from cellwallet.local.stack import Stack
from contract.signing import PublicKeys, public_keys_of

TIMEOUT_S = 10.0


class Operations:
    def __init__(self, stack: Stack) -> None:
        self._control_plane_url = stack.control_plane_url
        self._admin_urls = {cell.id: cell.admin_url for cell in stack.cells}
        headers = {"Authorization": f"Bearer {stack.tokens.operator}"}
        self._http = httpx.Client(headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def limit_day(self, wallet_id: str, day_max: int | None) -> None:
        """Replace the limits of one wallet; None = there is none."""
        body = {"subject": {"wallet_id": wallet_id}, "amount_max": None, "day_max": day_max}
        self._ask("PUT", f"{self._control_plane_url}/v1/limits", body)

    def key_of(self, cell: str) -> PublicKeys:
        shown = self._ask("GET", f"{self._control_plane_url}/v1/cells/{cell}")
        return public_keys_of({"keys": [shown["public_key"]]})

    def take_checkpoint(self, cell: str) -> None:
        """Now, instead of within five minutes."""
        self._ask("POST", f"{self._admin_urls[cell]}/admin/checkpoints")

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, url, json=body)
        except httpx.TransportError as error:
            raise DayMustGoAsToldError(f"{method} {url}: no answer ({error})") from error
        if not answer.is_success:
            raise DayMustGoAsToldError(f"{method} {url}: {answer.status_code} {answer.text[:200]}")
        document: dict[str, Any] = answer.json()
        return document

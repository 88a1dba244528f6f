"""Small HTTP questions to processes on this machine, without proxies and without a client's start-up time."""

import asyncio
import http.client
from urllib.parse import urlsplit

from contract.values import value

TIMEOUT_S = 5.0


@value
class Answer:
    status: int
    body: bytes


def get(url: str, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> Answer | None:
    """None when nobody answers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}", headers=headers)
        answer = connection.getresponse()
        return Answer(status=answer.status, body=answer.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


async def is_ok(url: str) -> bool:
    """Whether the process can work, or would: a cell in quarantine waits for people and not for its process."""
    answer = await asyncio.to_thread(get, url)
    return answer is not None and (answer.status == 200 or (answer.status == 503 and b'"quarantined"' in answer.body))

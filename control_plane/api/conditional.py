"""Signed documents over HTTP: ETag = quoted version, If-None-Match -> 304, and waiting for a newer one.

A caller that names the current version may wait for the next; whoever names another gets the current one at once.
"""

import re
from collections.abc import Awaitable, Callable

from fastapi import Request
from fastapi.responses import Response

from contract.headers import JSON_TYPE
from control_plane.api.bodies import WAIT_MAX_S
from control_plane.store.documents import SignedText
from control_plane.store.nudges import Look
from control_plane.watch import Watch

_VERSION_TAG = re.compile(r'(?:W/)?"([0-9]{1,16})"')
TAGS_MAX = 20

Read = Callable[[tuple[int, ...]], Awaitable[SignedText | None]]
"""Reads the newest document, without its text where its version is among those given."""


async def newest(
    request: Request, watch: Watch, read: Read, version_in: Callable[[Look], int | None], *, wait_s: float
) -> Response | None:
    """The document (200), nothing new (304), or None while there is none at all."""
    known = _known_versions(request)
    document = await read(known)
    if wait_s > 0 and (document is None or document.text is None):
        than = document.version if document else 0
        await watch.wait_until_newer(version_in, than=than, timeout_s=min(wait_s, WAIT_MAX_S))
        document = await read(known)
    if document is None:
        return None
    headers = {"ETag": f'"{document.version}"', "Cache-Control": "no-cache"}
    if document.text is None:
        return Response(status_code=304, headers=headers)
    return Response(document.text, media_type=JSON_TYPE, headers=headers)


def _known_versions(request: Request) -> tuple[int, ...]:
    tags = request.headers.get("if-none-match", "")
    return tuple(int(version) for version in _VERSION_TAG.findall(tags)[:TAGS_MAX])

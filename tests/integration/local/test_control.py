"""The socket in the data folder through which other verbs reach a running platform."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from cellwallet.local.control import PlatformMustRunError, listen, request


async def respond(asked: dict[str, Any]) -> dict[str, Any]:
    return {"asked": asked}


@pytest.mark.parametrize("folder", ["short", "a folder of a name that is long " * 4], ids=["short", "long"])
async def test_a_request_is_answered_however_deep_the_folder_is(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "control.sock"
    path.parent.mkdir()
    server = await listen(path, respond)
    try:
        assert path.stat().st_mode & 0o777 == 0o600
        answer = await asyncio.to_thread(request, path, "status", deep=True)
        assert answer == {"asked": {"do": "status", "deep": True}}
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("noise", [b"\n", b"[]\n", b"{\n", b"\xff\xfe\n", b"x" * 200_000])
async def test_noise_does_not_harm_the_next_request(tmp_path: Path, noise: bytes) -> None:
    path = tmp_path / "control.sock"
    server = await listen(path, respond)
    try:
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(path))
            rude.settimeout(0)
            await asyncio.get_running_loop().sock_sendall(rude, noise)
        assert await asyncio.to_thread(request, path, "status") == {"asked": {"do": "status"}}
    finally:
        server.close()
        await server.wait_closed()


def test_without_a_platform_there_is_a_plain_word(tmp_path: Path) -> None:
    with pytest.raises(PlatformMustRunError, match="no platform runs"):
        request(tmp_path / "control.sock", "status")
    with pytest.raises(PlatformMustRunError, match="no platform runs"):
        request(tmp_path / "missing" / "control.sock", "status")

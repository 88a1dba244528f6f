"""What the control plane tells of itself: readiness, traces."""

import psycopg
from aiohttp import web
from platform_keys import PlatformKeys, bearer
from running_platform import RunningPlatform, running_platform

TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_a_schema_of_another_version_is_not_ready(platform: RunningPlatform, database_url: str) -> None:
    assert (await platform.client.get("/readyz")).json() == {"status": "ok"}
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    refused = await platform.client.get("/readyz")
    assert (refused.status_code, refused.json()["reason"]) == (503, "schema_must_be_current")
    assert (await platform.client.get("/healthz")).json() == {"status": "ok"}


async def test_the_documentation_is_there(platform: RunningPlatform) -> None:
    assert "swagger" in (await platform.client.get("/docs")).text.lower()
    paths = (await platform.client.get("/openapi.json")).json()["paths"]
    assert {"/v1/directory", "/v1/cells", "/v1/locate/{wallet_id}", "/v1/vendors/{vendor_id}"} <= paths.keys()


async def test_traces_reach_their_collector(database_url: str, keys: PlatformKeys) -> None:
    received: list[bytes] = []

    async def collect(request: web.Request) -> web.Response:
        received.append(await request.read())
        return web.Response()

    collector = web.Application()
    collector.add_routes([web.post("/v1/traces", collect)])
    runner = web.AppRunner(collector, shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with running_platform(database_url, keys, otlp_endpoint=endpoint) as platform:
        headers = {**bearer(keys.operator()), "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        await platform.client.get("/v1/cells", headers=headers)
    await runner.cleanup()
    assert any(bytes.fromhex(TRACE) in body and b"/v1/cells" in body for body in received)

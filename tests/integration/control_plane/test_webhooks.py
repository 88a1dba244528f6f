"""`/v1/webhooks`: a vendor's own endpoints, told to every cell; what is no endpoint, and whose it is not."""

from typing import Any

import httpx
import pytest
from platform_keys import PlatformKeys, bearer, token
from running_platform import RunningPlatform, running_platform, until

from contract.headers import PROBLEM_TYPE
from contract.webhooks import SECRET_PREFIX, WEBHOOKS_PER_VENDOR_MAX

URL = "https://vendor.example/hook"
UNKNOWN = "/v1/webhooks/00000000-0000-4000-8000-000000000001"


class Hands:
    """A vendor's; `scope` and `key` may be those of somebody else."""

    def __init__(self, platform: RunningPlatform, vendor: str = "acme", scope: str = "webhook:manage") -> None:
        self._platform = platform
        self.headers = bearer(token(platform.keys.issuer, "issuer-1", subject=vendor, scope=scope))

    async def ask(self, method: str, path: str = "/v1/webhooks", **named: Any) -> httpx.Response:
        answer: httpx.Response = await self._platform.client.request(method, path, headers=self.headers, **named)
        return answer

    async def create(self, url: str = URL, **fields: Any) -> httpx.Response:
        return await self.ask("POST", json={"url": url, **fields})


def assert_problem(answer: httpx.Response, status: int, reason: str) -> None:
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text
    assert answer.headers["content-type"] == PROBLEM_TYPE


async def configured(platform: RunningPlatform, count: int) -> list[dict[str, Any]]:
    """The webhooks as a cell gets them, once there are so many."""

    async def told() -> list[dict[str, Any]] | None:
        document = await platform.configuration("cell-1")
        webhooks = (document or {}).get("webhooks", [])
        return [{}, *webhooks] if len(webhooks) == count else None

    found: list[dict[str, Any]] = await until(told)
    return found[1:]


async def test_a_webhook_is_listed_told_to_the_cells_and_forgotten(born: RunningPlatform) -> None:
    acme, other = Hands(born), Hands(born, "other")
    created = (await acme.create(kinds=["debit", "credit", "debit"])).json()
    assert created["secret"].startswith(SECRET_PREFIX)
    (listed,) = (await acme.ask("GET")).json()["webhooks"]
    assert listed == {name: field for name, field in created.items() if name != "secret"}
    assert listed["kinds"] == ["credit", "debit"]
    assert (await other.ask("GET")).json() == {"webhooks": []}
    (told,) = await configured(born, 1)
    assert (told["id"], told["vendor_id"], told["url"]) == (created["id"], "acme", URL)
    assert told["secrets"] == [{"secret": created["secret"], "until": None}]
    assert (await acme.ask("DELETE", f"/v1/webhooks/{created['id']}")).json() == {"webhooks": []}
    await configured(born, 0)


async def test_the_collection_deletes_by_id_too(platform: RunningPlatform) -> None:
    acme = Hands(platform)
    created = (await acme.create()).json()
    assert (await acme.ask("DELETE", f"/v1/webhooks?id={created['id']}")).json() == {"webhooks": []}
    assert_problem(await acme.ask("DELETE"), 400, "request_must_be_well_formed")


async def test_after_a_rotation_both_secrets_sign_for_a_day(born: RunningPlatform) -> None:
    acme = Hands(born)
    created = (await acme.create()).json()
    rotated = (await acme.ask("POST", f"/v1/webhooks/{created['id']}/rotate")).json()
    assert rotated["secret"] != created["secret"]

    async def told() -> list[dict[str, Any]] | None:
        (webhook,) = await configured(born, 1)
        return webhook["secrets"] if len(webhook["secrets"]) == 2 else None

    present, former = await until(told)
    assert present == {"secret": rotated["secret"], "until": None}
    assert (former["secret"], former["until"] > rotated["secret_changed_at"]) == (created["secret"], True)
    for _ in range(5):
        await acme.ask("POST", f"/v1/webhooks/{created['id']}/rotate")


@pytest.mark.parametrize(
    "url",
    [
        "http://vendor.example/hook",
        "ftp://vendor.example/",
        "https://",
        "https://localhost/",
        "https://printer.local/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fd00::1]/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://user:word@vendor.example/",
        "https://vendor.example/#part",
        "https://vendor.example:0/",
        "https://vendor.example:99999/",
        "https://vendor .example/",
        "https://vendor.example\\@10.0.0.1/",
        "https://vendor.example/é",
        f"https://vendor.example/{'x' * 500}",
        "",
    ],
)
async def test_what_is_no_public_endpoint_is_refused_with_a_pointer(platform: RunningPlatform, url: str) -> None:
    answer = await Hands(platform).create(url)
    assert_problem(answer, 400, "request_must_be_well_formed")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/url"]


@pytest.mark.parametrize(
    "body", [{}, {"url": 5}, {"url": URL, "more": 1}, {"url": URL, "kinds": []}, {"url": URL, "kinds": ["x"]}, []]
)
async def test_a_body_that_is_none_is_refused(platform: RunningPlatform, body: object) -> None:
    assert_problem(await Hands(platform).ask("POST", json=body), 400, "request_must_be_well_formed")


async def test_where_it_is_allowed_a_webhook_may_lead_to_this_machine(database_url: str, keys: PlatformKeys) -> None:
    async with running_platform(database_url, keys, webhooks_may_be_local=True) as platform:
        acme = Hands(platform)
        for url in ("http://127.0.0.1:8080/x", "http://localhost:1/", "http://[::1]:1/", "https://10.0.0.1/"):
            assert (await acme.create(url)).status_code == 201, url
        assert_problem(await acme.create("http://10.0.0.1/"), 400, "request_must_be_well_formed")


async def test_anothers_webhook_is_as_unknown_as_none(platform: RunningPlatform) -> None:
    created = (await Hands(platform).create()).json()
    other = Hands(platform, "other")
    for path in (UNKNOWN, f"/v1/webhooks/{created['id']}"):
        assert_problem(await other.ask("DELETE", path), 404, "webhook_must_exist")
        assert_problem(await other.ask("POST", f"{path}/rotate"), 404, "webhook_must_exist")
    assert len((await Hands(platform).ask("GET")).json()["webhooks"]) == 1
    assert_problem(await other.ask("DELETE", "/v1/webhooks/X"), 400, "path_must_be_well_formed")


async def test_there_are_so_many_and_no_more(platform: RunningPlatform) -> None:
    acme = Hands(platform)
    for _ in range(WEBHOOKS_PER_VENDOR_MAX):
        assert (await acme.create()).status_code == 201
    assert_problem(await acme.create(), 409, "webhooks_must_not_exceed_limit")
    assert (await Hands(platform, "other").create()).status_code == 201


async def test_who_may_not(platform: RunningPlatform) -> None:
    assert_problem(await Hands(platform, scope="wallet:read").create(), 403, "scope_must_allow_manage")
    assert_problem(await Hands(platform, "@cell").create(), 401, "token_must_be_valid")
    forged = bearer(token(platform.keys.stranger, "issuer-1", subject="acme", scope="webhook:manage"))
    answer = await platform.client.post("/v1/webhooks", json={"url": URL}, headers=forged)
    assert_problem(answer, 401, "token_must_be_valid")
    own = bearer(token(platform.keys.own, "cp-1", subject="acme", scope="webhook:manage"))
    answer = await platform.client.post("/v1/webhooks", json={"url": URL}, headers=own)
    assert_problem(answer, 401, "token_must_be_valid")
    await platform.put("/v1/vendors/acme", {"blocked": True})
    assert_problem(await Hands(platform).create(), 401, "token_must_be_valid")
    await platform.put("/v1/vendors/acme", {"scopes_allowed": ["wallet:read"]})
    assert_problem(await Hands(platform).create(), 403, "scope_must_allow_manage")


async def test_only_cells_and_operators_who_may_change_see_secrets(born: RunningPlatform) -> None:
    await Hands(born).create()
    path = "/v1/cells/cell-1/configuration"
    router = await born.client.get(path, headers=bearer(born.keys.router("router-1")))
    assert_problem(router, 403, "scope_must_allow_manage")
    assert (await born.client.get(path, headers=bearer(born.keys.operator()))).status_code == 200
    trail = (await born.get("/v1/changes?subject=vendor:acme")).text
    assert SECRET_PREFIX not in trail

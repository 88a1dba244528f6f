"""`/v1/limits`: whose limits, one subject at a time, in every cell's configuration, and who changed them."""

import itertools
from typing import Any

import httpx
import psycopg
import pytest
from platform_keys import bearer
from running_platform import RunningPlatform, until

from contract.configuration import CellConfiguration, Limit, Limits
from control_plane.store.limits import LIMITS_MAX

WALLET = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e5f"
OTHER = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e60"
OF_VENDOR = {"vendor": "acme", "wallet_id": None}
OF_WALLET = {"vendor": None, "wallet_id": WALLET}
OF_BOTH = {"vendor": "acme", "wallet_id": WALLET}


async def put(platform: RunningPlatform, subject: dict[str, Any], **limits: Any) -> httpx.Response:
    return await platform.put("/v1/limits", {"subject": subject, **limits})


async def listed(platform: RunningPlatform, query: str = "") -> list[dict[str, Any]]:
    limits: list[dict[str, Any]] = (await platform.get(f"/v1/limits{query}")).json()["limits"]
    return limits


async def test_nobody_has_a_limit_by_default(platform: RunningPlatform) -> None:
    assert (await platform.get("/v1/limits")).json() == {"limits": [], "next_cursor": None}


async def test_one_subjects_limits_are_replaced_whole(platform: RunningPlatform) -> None:
    for subject in (OF_WALLET, OF_BOTH):
        answer = await put(platform, subject, amount_max=100, day_max=500)
        assert answer.json() == {"subject": subject, "amount_max": 100, "day_max": 500}
    assert (await put(platform, OF_WALLET, day_max=400)).status_code == 200
    assert await listed(platform) == [
        {"subject": OF_WALLET, "amount_max": None, "day_max": 400},
        {"subject": OF_BOTH, "amount_max": 100, "day_max": 500},
    ]
    assert (await put(platform, OF_WALLET, amount_max=None)).json()["day_max"] is None
    assert await listed(platform) == [{"subject": OF_BOTH, "amount_max": 100, "day_max": 500}]


async def test_a_vendors_limit_is_part_of_its_policy_whichever_way_it_is_set(platform: RunningPlatform) -> None:
    await platform.put("/v1/vendors/acme", {"rate_per_s": 7, "limits": {"amount_max": 90}})
    assert await listed(platform) == [{"subject": OF_VENDOR, "amount_max": 90, "day_max": None}]
    await put(platform, OF_VENDOR, amount_max=80)
    policy = (await platform.get("/v1/vendors/acme")).json()
    assert (policy["rate_per_s"], policy["limits"]) == (7, {"amount_max": 80})
    await put(platform, OF_VENDOR, amount_max=None)
    policy = (await platform.get("/v1/vendors/acme")).json()
    assert (policy["rate_per_s"], policy["limits"]) == (7, {"amount_max": None})
    assert await listed(platform) == []


async def test_every_cell_hears_of_it(born: RunningPlatform) -> None:
    await put(born, OF_VENDOR, amount_max=90)
    await put(born, OF_WALLET, day_max=400)
    await put(born, OF_BOTH, amount_max=100)
    for cell in ("cell-1", "cell-2"):

        async def told(cell: str = cell) -> CellConfiguration | None:
            document = await born.configuration(cell)
            assert document is not None
            document.pop("signature")
            configuration = CellConfiguration.model_validate(document)
            return configuration if configuration.limits.vendor_wallets else None

        configuration = await until(told)
        assert configuration.vendors["acme"].limits.amount_max == 90
        assert configuration.limits == Limits(
            wallets={WALLET: Limit(day_max=400)}, vendor_wallets={WALLET: {"acme": Limit(amount_max=100)}}
        )


async def test_every_change_says_who_when_and_what(platform: RunningPlatform) -> None:
    for subject, limit in (("olga", 5), ("olga", 5), ("igor", None)):
        await platform.client.put(
            "/v1/limits",
            json={"subject": OF_BOTH, "amount_max": limit},
            headers={**bearer(platform.keys.operator(subject=subject)), "X-Request-Id": f"by-{subject}"},
        )
    trail = (await platform.get(f"/v1/changes?subject=wallet:{WALLET}")).json()["changes"]
    none, five = ({"vendor": "acme", "amount_max": amount, "day_max": None} for amount in (None, 5))
    assert [(one["actor"], one["request_id"], one["before"], one["after"]) for one in trail] == [
        ("igor", "by-igor", five, none),
        ("olga", "by-olga", none, five),
    ]


async def test_a_vendors_limit_is_in_the_vendors_trail(platform: RunningPlatform) -> None:
    await put(platform, OF_VENDOR, amount_max=5)
    [change] = (await platform.get("/v1/changes?subject=vendor:acme")).json()["changes"]
    assert (change["before"]["limits"], change["after"]["limits"]) == ({"amount_max": None}, {"amount_max": 5})


async def test_limits_come_in_pages_and_by_subject(platform: RunningPlatform) -> None:
    for vendor, wallet in itertools.product((None, "acme", "shop"), (None, WALLET, OTHER)):
        if vendor or wallet:
            await put(platform, {"vendor": vendor, "wallet_id": wallet}, amount_max=1)
    found, cursor = [], ""
    while cursor is not None:
        page = await platform.get(f"/v1/limits?limit=3{cursor and '&cursor=' + cursor}")
        assert len(page.json()["limits"]) <= 3
        found += [(one["subject"]["wallet_id"], one["subject"]["vendor"]) for one in page.json()["limits"]]
        cursor = page.json()["next_cursor"]
    expected = [(wallet, vendor) for wallet in (None, WALLET, OTHER) for vendor in (None, "acme", "shop")]
    assert found == expected[1:]
    assert {one["subject"]["wallet_id"] for one in await listed(platform, "?vendor=shop")} == {None, WALLET, OTHER}
    assert len(await listed(platform, f"?wallet_id={OTHER}")) == 3


async def test_more_limits_than_a_configuration_holds_are_refused(platform: RunningPlatform, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO limits SELECT md5(n::text)::uuid::text, '', 5 FROM generate_series(1, %s) n", (LIMITS_MAX - 1,)
        )
    assert (await put(platform, OF_WALLET, amount_max=5)).status_code == 200
    refused = await put(platform, OF_BOTH, amount_max=5)
    assert (refused.status_code, refused.json()["reason"]) == (409, "limits_must_fit_the_configuration")
    assert (await put(platform, OF_WALLET, amount_max=6)).status_code == 200
    assert (await put(platform, OF_VENDOR, amount_max=6)).status_code == 200
    assert (await put(platform, OF_WALLET, amount_max=None)).status_code == 200
    assert (await put(platform, OF_BOTH, amount_max=5)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"subject": OF_WALLET},
        {"amount_max": 5},
        {"subject": {}, "amount_max": 5},
        {"subject": {"vendor": None, "wallet_id": None}, "amount_max": 5},
        {"subject": {"vendor": "@cell"}, "amount_max": 5},
        {"subject": {"wallet_id": WALLET.upper()}, "amount_max": 5},
        {"subject": {"wallet_id": "w-1"}, "amount_max": 5},
        {"subject": {"wallet_id": WALLET + "\n"}, "amount_max": 5},
        {"subject": OF_WALLET, "amount_max": 0},
        {"subject": OF_WALLET, "amount_max": -1},
        {"subject": OF_WALLET, "amount_max": 2**53},
        {"subject": OF_WALLET, "amount_max": 5.5},
        {"subject": OF_WALLET, "amount_max": "5"},
        {"subject": OF_WALLET, "amount_max": True},
        {"subject": OF_WALLET, "day_max": 0},
        {"subject": OF_VENDOR, "day_max": 5},
        {"subject": OF_WALLET, "amount_max": 5, "colour": "red"},
        {"subject": {**OF_WALLET, "colour": "red"}, "amount_max": 5},
        [],
    ],
)
async def test_what_is_no_limit_is_refused(standing: RunningPlatform, body: object) -> None:
    answer = await standing.put("/v1/limits", body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "cursor=x", "cursor=~%00", "vendor=@cell", "wallet_id=w"])
async def test_a_malformed_question_is_refused(standing: RunningPlatform, query: str) -> None:
    answer = await standing.get(f"/v1/limits?{query}")
    assert (answer.status_code, answer.json()["reason"]) == (400, "request_must_be_well_formed")


async def test_who_may_read_may_not_change(platform: RunningPlatform) -> None:
    reader = bearer(platform.keys.operator("fleet:read"))
    assert (await platform.client.get("/v1/limits", headers=reader)).status_code == 200
    refused = await platform.client.put("/v1/limits", json={"subject": OF_WALLET, "amount_max": 5}, headers=reader)
    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_must_allow_manage")
    assert (await platform.client.get("/v1/limits")).status_code == 401

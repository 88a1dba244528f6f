"""`/v1/vendors/{id}`: the policy in force, who may change it, and who did."""

import asyncio

from platform_keys import bearer
from running_platform import RunningPlatform

UNRESTRICTED = {"blocked": False, "rate_per_s": None, "scopes_allowed": None, "limits": {"amount_max": None}}


async def test_a_vendor_without_an_entry_has_no_restriction(platform: RunningPlatform) -> None:
    assert (await platform.get("/v1/vendors/v-1")).json() == UNRESTRICTED


async def test_a_policy_is_replaced_whole(platform: RunningPlatform) -> None:
    first = {
        "blocked": True,
        "rate_per_s": 12.5,
        "scopes_allowed": ["money:debit", "wallet:read"],
        "limits": {"amount_max": 100_000},
    }
    assert (await platform.put("/v1/vendors/v-1", first)).json() == first
    assert (await platform.get("/v1/vendors/v-1")).json() == first
    second = {"rate_per_s": 5}
    assert (await platform.put("/v1/vendors/v-1", second)).json() == {**UNRESTRICTED, "rate_per_s": 5}
    assert (await platform.get("/v1/vendors/v-2")).json() == UNRESTRICTED


async def test_every_change_says_who_when_and_what(platform: RunningPlatform) -> None:
    for subject, body in (("olga", {"blocked": True}), ("olga", {"blocked": True}), ("igor", {})):
        await platform.client.put(
            "/v1/vendors/v-1",
            json=body,
            headers={**bearer(platform.keys.operator(subject=subject)), "X-Request-Id": f"by-{subject}"},
        )
    trail = (await platform.get("/v1/changes?subject=vendor:v-1")).json()["changes"]
    assert [(one["actor"], one["request_id"], one["before"]["blocked"], one["after"]["blocked"]) for one in trail] == [
        ("igor", "by-igor", True, False),
        ("olga", "by-olga", False, True),
    ]
    assert trail[0]["at"] > trail[1]["at"]


async def test_changes_at_once_are_all_in_the_trail_and_fit_together(platform: RunningPlatform) -> None:
    await asyncio.gather(*(platform.put("/v1/vendors/v-1", {"rate_per_s": rate}) for rate in range(1, 11)))
    trail = (await platform.get("/v1/changes?subject=vendor:v-1")).json()["changes"]
    assert len(trail) == 10
    assert [one["before"] for one in trail[:-1]] == [one["after"] for one in trail[1:]]
    assert trail[0]["after"] == (await platform.get("/v1/vendors/v-1")).json()


async def test_the_trail_comes_in_pages(platform: RunningPlatform) -> None:
    for rate in range(1, 6):
        await platform.put(f"/v1/vendors/v-{rate}", {"rate_per_s": rate})
    subjects, cursor = [], ""
    while cursor is not None:
        page = (await platform.get(f"/v1/changes?limit=2{cursor and '&cursor=' + cursor}")).json()
        assert len(page["changes"]) <= 2
        subjects += [one["subject"] for one in page["changes"]]
        cursor = page["next_cursor"]
    assert subjects == [f"vendor:v-{rate}" for rate in range(5, 0, -1)]


async def test_who_may_read_may_not_change(platform: RunningPlatform) -> None:
    reader = bearer(platform.keys.operator("fleet:read"))
    assert (await platform.client.get("/v1/vendors/v-1", headers=reader)).status_code == 200
    refused = await platform.client.put("/v1/vendors/v-1", json={"blocked": True}, headers=reader)
    assert (refused.status_code, refused.json()["reason"]) == (403, "scope_must_allow_manage")
    assert (await platform.get("/v1/vendors/v-1")).json() == UNRESTRICTED

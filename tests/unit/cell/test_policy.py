"""Which limits meet on one vendor and one wallet."""

from typing import Any

import pytest

from cell.ledger.limits import Caps
from cell.policy import LimitPolicy
from contract.configuration import CellConfiguration, Limit, Limits, VendorLimits, VendorPolicy

WALLET = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e5f"
OTHER = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e60"


def policy(*, vendors: dict[str, int] | None = None, **limits: Any) -> LimitPolicy:
    made = LimitPolicy()
    made.configure(
        CellConfiguration(
            cell="cell-a",
            version=1,
            issued_at="2027-01-15T08:00:00.000000Z",
            jwks={},
            vendors={
                vendor: VendorPolicy(limits=VendorLimits(amount_max=amount))
                for vendor, amount in (vendors or {}).items()
            },
            limits=Limits(**limits),
        )
    )
    return made


def test_without_a_configuration_nothing_applies() -> None:
    assert LimitPolicy().caps_for("acme", WALLET) is None


def test_without_limits_nothing_applies() -> None:
    assert policy().caps_for("acme", WALLET) is None


def test_a_vendors_policy_without_a_limit_is_none() -> None:
    made = LimitPolicy()
    made.configure(
        CellConfiguration(cell="cell-a", version=1, issued_at="", jwks={}, vendors={"acme": VendorPolicy(rate_per_s=1)})
    )
    assert made.caps_for("acme", WALLET) is None


WALLET_LIMIT = {"wallets": {WALLET: Limit(amount_max=50, day_max=500)}}
BOTH_LIMIT = {"vendor_wallets": {WALLET: {"acme": Limit(amount_max=70, day_max=300)}}}


@pytest.mark.parametrize(
    ("limits", "vendor", "wallet", "expected"),
    [
        ({"vendors": {"acme": 60}}, "acme", WALLET, Caps(amount_max=60)),
        ({"vendors": {"acme": 60}}, "shop", WALLET, None),
        (WALLET_LIMIT, "acme", WALLET, Caps(amount_max=50, wallet_day_max=500)),
        (WALLET_LIMIT, "shop", WALLET, Caps(amount_max=50, wallet_day_max=500)),
        (WALLET_LIMIT, "acme", OTHER, None),
        (BOTH_LIMIT, "acme", WALLET, Caps(amount_max=70, vendor_day_max=300)),
        (BOTH_LIMIT, "shop", WALLET, None),
        (BOTH_LIMIT, "acme", OTHER, None),
        ({"vendors": {"acme": 60}} | WALLET_LIMIT, "acme", WALLET, Caps(amount_max=50, wallet_day_max=500)),
        ({"vendors": {"acme": 40}} | WALLET_LIMIT, "acme", WALLET, Caps(amount_max=40, wallet_day_max=500)),
        ({"vendors": {"acme": 40}} | WALLET_LIMIT, "shop", WALLET, Caps(amount_max=50, wallet_day_max=500)),
        (
            {"vendors": {"acme": 60}} | WALLET_LIMIT | BOTH_LIMIT,
            "acme",
            WALLET,
            Caps(amount_max=50, wallet_day_max=500, vendor_day_max=300),
        ),
        ({"vendors": {"acme": 60}} | BOTH_LIMIT, "acme", WALLET, Caps(amount_max=60, vendor_day_max=300)),
        (
            {"wallets": {WALLET: Limit(day_max=9)}, "vendor_wallets": {WALLET: {"acme": Limit(day_max=5)}}},
            "acme",
            WALLET,
            Caps(wallet_day_max=9, vendor_day_max=5),
        ),
    ],
)
def test_the_least_single_amount_counts_and_every_daily_sum(
    limits: dict[str, Any], vendor: str, wallet: str, expected: Caps | None
) -> None:
    assert policy(**limits).caps_for(vendor, wallet) == expected


def test_a_new_configuration_replaces_the_limits_whole() -> None:
    made = policy(vendors={"acme": 60}, **WALLET_LIMIT, **BOTH_LIMIT)
    made.configure(CellConfiguration(cell="cell-a", version=2, issued_at="", jwks={}))
    assert made.caps_for("acme", WALLET) is None


@pytest.mark.parametrize("amount", [0, -1, 2**53])
def test_what_is_no_amount_is_no_limit(amount: int) -> None:
    for made in (Limit, VendorLimits):
        with pytest.raises(ValueError, match="amount_max"):
            made(amount_max=amount)

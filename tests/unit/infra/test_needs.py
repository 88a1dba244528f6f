"""What a stack needs in each zone is what headroom plans, and it fits."""

import json
from dataclasses import MISSING, fields
from fractions import Fraction
from typing import Any

import pytest
from certificates import certificate_document
from hypothesis import given
from hypothesis import strategies as st
from stacks import CELLS, cell, certificate, document, example_certificate, fleet
from typer.testing import CliRunner

from cellwallet.commands import headroom
from cellwallet.headroom.cells import Outlook
from cellwallet.headroom.sound import HeadroomMustBeSoundError
from cellwallet.headroom.tier import Tier
from infra.headroom import cell_needs, fleet_needs
from infra.settings import FleetCapacity
from infra.sizes import CONNECTIONS_PER_PROCESS, CONNECTIONS_RESERVED, DATABASES, SURGE

HEADROOM_DEFAULTS = {
    one.name: one.default for kind in (Tier, Outlook) for one in fields(kind) if one.default is not MISSING
}
LARGE = {"database": {"size": "large"}}
UTILISATIONS = st.sampled_from([0.3, 0.5, 0.8, 1.0])


def planned(tmp_path: Any, *more: str) -> dict[str, Any]:
    """What `cellwallet headroom` says, of the same certificate."""
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_document()))
    result = CliRunner().invoke(headroom.app, ["--tps", "8000", "--certificate", str(file), "--json", *more])
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(("utilisation", "missing"), [(0.8, 1), (0.5, 1), (0.5, 3), (1.0, 2)])
def test_the_numbers_are_those_of_the_command(tmp_path: Any, utilisation: float, missing: int) -> None:
    capacity = {"utilisation": utilisation, "missing": missing}
    told = planned(tmp_path, "--utilisation", str(utilisation), "--missing", str(missing))["pods_per_zone"]
    api = cell_needs(cell("local-cell-a", {**LARGE, "capacity": capacity}), certificate()).api_per_zone
    routers = fleet_needs(fleet(changes={"capacity": capacity}), certificate()).routers_per_zone
    assert (api, routers) == (told["api_of_each_cell"], told["router"])


def test_uneven_zones_need_what_the_command_says(tmp_path: Any) -> None:
    told = planned(tmp_path, "--zone-shares", "0.5,0.3,0.2")["pods_per_zone"]
    changes = {**LARGE, "capacity": {"zone_shares": [0.5, 0.3, 0.2]}}
    assert cell_needs(cell("local-cell-a", changes), certificate()).api_per_zone == told["api_of_each_cell"]


@given(utilisation=UTILISATIONS, limit_per_s=st.integers(100, 20_000), processes=st.integers(1, 4))
def test_with_a_zone_and_a_process_gone_the_rest_carries_it_and_one_less_would_not(
    utilisation: float, limit_per_s: int, processes: int
) -> None:
    measured = certificate(
        limit_per_s=float(limit_per_s),
        topology={"api_processes": processes, "standbys": 0},
        rounds=certificate_rounds(float(limit_per_s)),
    )
    settings = cell("local-cell-a", {**LARGE, "capacity": {"utilisation": utilisation}})
    api = cell_needs(settings, measured).api
    usable = Fraction(repr(api.process_per_s)) * Fraction(repr(utilisation)) * (api.zones - 1)
    working = api.processes_per_zone - settings.capacity.missing
    assert usable * working >= Fraction(repr(api.demand_per_s))
    assert usable * (working - 1) < Fraction(repr(api.demand_per_s))


def certificate_rounds(limit_per_s: float) -> list[dict[str, Any]]:
    rounds: list[dict[str, Any]] = certificate_document()["rounds"]
    normal, degraded = rounds
    normal["steps"][0]["rate_per_s"] = normal["limit_per_s"] = limit_per_s
    return [normal, degraded]


@given(demand_per_s=st.integers(100, 200_000))
def test_more_demand_never_needs_fewer_routers(demand_per_s: int) -> None:
    some = fleet_needs(fleet(changes={"capacity": {"demand_per_s": demand_per_s}}), certificate())
    more = fleet_needs(fleet(changes={"capacity": {"demand_per_s": demand_per_s * 2}}), certificate())
    assert more.routers_per_zone >= some.routers_per_zone
    assert some.nodes is not None
    assert more.nodes is not None
    assert more.nodes.app >= some.nodes.app


@pytest.mark.parametrize("name", CELLS)
def test_the_examples_fit(name: str) -> None:
    settings = cell(name)
    needs = cell_needs(settings, example_certificate())
    needed = len(settings.zones) * (needs.api_per_zone + SURGE) * CONNECTIONS_PER_PROCESS + CONNECTIONS_RESERVED
    assert needed <= DATABASES[settings.database.size].connections
    assert (needs.nodes is None) == (settings.substrate.kind == "kubeconfig")


def test_a_database_that_is_too_small_for_so_many_processes_is_refused_with_the_one_that_is_not() -> None:
    with pytest.raises(
        HeadroomMustBeSoundError, match=r"database\.size must be medium: 3 processes in each of 3 zones"
    ):
        cell_needs(cell(changes={"database": {"size": "small"}}), example_certificate())


def test_more_processes_than_any_database_takes_are_refused() -> None:
    with pytest.raises(HeadroomMustBeSoundError, match="the certificate's processes must do more each"):
        cell_needs(cell("local-cell-a", {**LARGE, "capacity": {"missing": 12}}), certificate())


def test_nodes_hold_a_roll_out_and_may_miss_the_spare_ones() -> None:
    settings = cell(changes={"substrate": {"app_nodes": {"spare": 0}}})
    needs = cell_needs(settings, example_certificate())
    assert needs.nodes is not None
    assert needs.nodes.app * document("cell-a")["substrate"]["app_nodes"]["cores"] >= needs.api_per_zone + SURGE
    spare = cell_needs(cell(changes={"substrate": {"app_nodes": {"spare": 2}}}), example_certificate())
    assert spare.nodes is not None
    assert spare.nodes.app == needs.nodes.app + 2
    assert (needs.nodes.database, spare.nodes.database) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"substrate": {"database_nodes": {"cores": 3.9}}},
            "substrate.database_nodes: a node must have at least 4 cores",
        ),
        ({"substrate": {"database_nodes": {"memory_gib": 15}}}, "at least 16 GiB of memory"),
        ({"substrate": {"app_nodes": {"cores": 0.9}}}, "substrate.app_nodes: a node must have at least 1 cores"),
        ({"capacity": {"zone_shares": [0.5, 0.5]}}, "there must be a share for each of 3 zones"),
        ({"capacity": {"zone_shares": [0.5, 0.4, 0.4]}}, "the zones' shares must add up to 1"),
        ({"capacity": {"zone_shares": [1.5, -0.3, -0.2]}}, "each zone's share must be at least 0"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(HeadroomMustBeSoundError, match=told):
        cell_needs(cell(changes=changes), example_certificate())


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"is_quick": True}, "must not be a quick one"),
        ({"subject": {"kind": "router", "id": "r", "software_version": "0.1.0"}}, "must be a cell's, not a router's"),
    ],
)
def test_a_certificate_that_says_too_little_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(HeadroomMustBeSoundError, match=told):
        cell_needs(cell("local-cell-a", LARGE), certificate(**changed))


def test_routers_that_nobody_measured_must_be_told_of() -> None:
    unmeasured = certificate(routers=[])
    with pytest.raises(HeadroomMustBeSoundError, match=r"capacity\.router_process_per_s must be given"):
        fleet_needs(fleet(), unmeasured)
    given = fleet_needs(fleet(changes={"capacity": {"router_process_per_s": 300}}), unmeasured)
    assert given.routers_per_zone == fleet_needs(fleet(), certificate()).routers_per_zone


def test_what_a_certificate_does_not_tell_is_assumed_as_the_command_assumes_it(tmp_path: Any) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(json.dumps(certificate_document(moves_loss=None, failover_s=None, assumed=[])))
    told = json.loads(CliRunner().invoke(headroom.app, ["--tps", "8000", "--certificate", str(file), "--json"]).stdout)
    measured = certificate(moves_loss=None, failover_s=None, assumed=[])
    assert cell_needs(cell("local-cell-a", LARGE), measured).api_per_zone == told["pods_per_zone"]["api_of_each_cell"]


def test_what_a_stack_leaves_out_is_what_headroom_takes() -> None:
    given = {name: field.default for name, field in FleetCapacity.model_fields.items() if not field.is_required()}
    assert given.pop("router_process_per_s") is None
    assert given.pop("zone_shares") == HEADROOM_DEFAULTS["shares"]
    assert given == {name: HEADROOM_DEFAULTS[name] for name in given}

"""The capacity certificate: its form is fixed, and one that nobody may rely on is told apart."""

import json
from pathlib import Path
from typing import Any

import pytest
from certificates import certificate_document

from contract.certificate import CapacityCertificate, CertificateMustBeValidError, certificate_of

SCHEMA = Path(__file__).parent / "capacity_certificate.schema.json"


def test_the_form_is_the_one_that_others_read() -> None:
    """Fields are added, none changes: then this file is written anew by hand, and FORM grows if a meaning changed."""
    assert CapacityCertificate.model_json_schema() == json.loads(SCHEMA.read_text())


def test_what_was_written_is_read_back() -> None:
    certificate = CapacityCertificate.model_validate(certificate_document())
    assert certificate_of(certificate.text().encode()) == certificate


def test_it_is_kept_in_one_form() -> None:
    text = CapacityCertificate.model_validate(certificate_document()).text()
    assert json.loads(text) == certificate_document()


def changed(**fields: Any) -> bytes:
    return json.dumps(certificate_document(**fields)).encode()


def router(**fields: Any) -> dict[str, Any]:
    one: dict[str, Any] = certificate_document()["routers"][0]
    return {**one, **fields}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (b"", "no capacity certificate"),
        (b"[]", "no capacity certificate"),
        (changed(limit_per_s=-5), "limit_per_s: Input should be greater than 0"),
        (changed(limit_per_s="500"), "limit_per_s"),
        (changed(degraded_loss=1), "degraded_loss"),
        (changed(rounds=[]), "rounds"),
        (changed(checks=[]), "checks"),
        (changed(form=2), "form"),
        (changed(more=1), "more"),
        (changed(made_at="yesterday"), "made_at"),
        (changed(checks=[{"name": "conservation", "passed": False}]), "did not: conservation"),
        (changed(limit_per_s=900), "the best held 500/s"),
        (changed(degraded_loss=0.5, moves_loss=0.5), "leave nothing together"),
        (changed(unmeasured=[{"part": "degraded", "why": "any"}]), "both measured and not: degraded"),
        (
            changed(moves_loss=0.1, assumed=[], unmeasured=[{"part": "moves", "why": "any"}]),
            "both measured and not: moves",
        ),
        (changed(unmeasured=[{"part": "elsewhere", "why": "any"}]), "unmeasured/0/part"),
        (changed(unmeasured=[{"part": "moves", "why": ""}]), "unmeasured/0/why"),
        (changed(routers=[router(limit_per_s=400.0)]), "the best held 300/s"),
        (changed(routers=[router(limit_per_s=-1.0)]), "routers/0/limit_per_s"),
        (changed(routers=[router(data_plane="other")]), "routers/0/data_plane"),
    ],
)
def test_what_nobody_may_rely_on_is_refused_in_words(document: bytes, told: str) -> None:
    with pytest.raises(CertificateMustBeValidError) as refused:
        certificate_of(document)
    assert told in str(refused.value)


def test_a_limit_that_no_step_held_is_a_flaw() -> None:
    document = certificate_document()
    document["rounds"][0]["steps"][0]["held"] = False
    with pytest.raises(CertificateMustBeValidError, match="one of its steps that held"):
        certificate_of(json.dumps(document).encode())


def test_what_was_measured_is_what_has_figures_that_nobody_assumed() -> None:
    certificate = certificate_of(json.dumps(certificate_document()).encode())
    assert certificate.measured == ("normal", "degraded", "router_python")
    measured = certificate_of(changed(assumed=[], routers=[]))
    assert measured.measured == ("normal", "degraded", "moves", "failover")


def test_what_was_neither_measured_nor_assumed_is_absent() -> None:
    missing = ("degraded_loss", "moves_loss", "failover_s")
    document = {name: field for name, field in certificate_document().items() if name not in {*missing, "assumed"}}
    certificate = certificate_of(json.dumps(document).encode())
    assert (certificate.degraded_loss, certificate.moves_loss, certificate.failover_s) == (None, None, None)
    assert not {"moves", "failover"} & set(certificate.measured)


def test_a_router_counts_by_the_data_plane_of_production() -> None:
    steps = router(data_plane="haproxy")
    assert certificate_of(changed(routers=[router(), steps], unmeasured=[])).router_limit_per_s() == 300
    assert certificate_of(changed(routers=[])).router_limit_per_s() is None

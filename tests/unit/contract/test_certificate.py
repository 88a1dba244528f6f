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

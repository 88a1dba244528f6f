"""A certificate in words and in pictures; and the example that the documents show."""

import json
import re
from pathlib import Path

import pytest
from certificates import certificate_document

from contract.certificate import PARTS, CapacityCertificate, certificate_of
from loadtests.certification.page import NOISY, notes_of, page_of, rows_of
from loadtests.certification.parts import TITLES
from loadtests.certification.pictures import draw_histogram, draw_latency, draw_limits
from loadtests.histogram import Histogram

EXAMPLE = Path(__file__).parents[3] / "docs" / "capacity_example"
PNG = b"\x89PNG\r\n"


def certificate(**changed: object) -> CapacityCertificate:
    return certificate_of(json.dumps(certificate_document(**changed)).encode())


def test_every_part_has_a_title() -> None:
    assert set(TITLES) == set(PARTS)


def test_what_was_not_measured_is_told_and_has_no_figure() -> None:
    told = dict(rows_of(certificate(degraded_loss=None, unmeasured=[{"part": "moves", "why": "nothing moved"}])))
    assert told["while units move"] == "not measured: nothing moved"
    assert "lost when degraded δ" not in told
    assert told["through the embedded router"] == "300 commands/s"


def test_the_page_shows_every_row_and_only_the_pictures_that_are_there() -> None:
    one = certificate(is_noisy=True)
    page = page_of(one, pictures=["limits.png"])
    assert all(f"| {what} | {measured} |" in page for what, measured in rows_of(one))
    assert re.findall(r"\]\((.+)\)", page) == ["limits.png"]
    assert notes_of(one) == [NOISY]
    assert f"**{NOISY}**" in page
    assert notes_of(certificate()) == []


def test_any_certificate_is_drawn(tmp_path: Path) -> None:
    seen = Histogram()
    seen.record(5_000)
    whole = certificate()
    cell_only = certificate(routers=[], rounds=certificate_document()["rounds"][:1], degraded_topology=None)
    for number, one in enumerate((whole, cell_only)):
        for draw in (draw_limits, draw_latency):
            draw(one, tmp_path / f"{draw.__name__}-{number}.png")
    draw_histogram({"normal": seen, "router_python": seen}, tmp_path / "histogram.png")
    files = list(tmp_path.iterdir())
    assert len(files) == 5
    assert all(file.read_bytes().startswith(PNG) and file.stat().st_size < 60_000 for file in files)


@pytest.mark.parametrize("file", sorted(EXAMPLE.glob("certificate.json")), ids=str)
def test_the_example_may_be_relied_on_and_its_page_is_its_own(file: Path) -> None:
    """`make certificate` writes it, on a machine that does nothing else."""
    example = certificate_of(file.read_bytes())
    assert notes_of(example) == []
    assert len(example.rounds) == 6
    assert {"normal", "degraded", "router_python"} <= set(example.measured)
    pictures = ("limits.png", "latency.png", "histogram.png")
    assert (EXAMPLE / "README.md").read_text() == page_of(example, pictures=pictures)
    assert all((EXAMPLE / picture).stat().st_size < 60_000 for picture in pictures)

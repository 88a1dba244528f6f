"""A certificate in words: the rows that a terminal shows, and the page that lies next to it. Pure."""

from collections.abc import Sequence

from contract.certificate import CapacityCertificate
from loadtests.certification.parts import ROUTER_PARTS, TITLES

NOISY = "noisy: others kept the machine busy meanwhile"
QUICK = "quick: made to see that it works, and not to be relied on"


def rows_of(certificate: CapacityCertificate) -> list[tuple[str, str]]:
    """What was measured, then what was not, then what held afterwards."""
    objective = certificate.objective
    rows = [("limit L", f"{certificate.limit_per_s:,.0f} commands/s, p99 ≤ {objective.p99_ms_max:g} ms")]
    if certificate.degraded_loss is not None:
        rows.append(("lost when degraded δ", f"{certificate.degraded_loss:.1%}"))
    rows += [
        (TITLES[ROUTER_PARTS[router.data_plane]], f"{router.limit_per_s:,.0f} commands/s")
        for router in certificate.routers
    ]
    rows += [(TITLES[one.part], f"not measured: {one.why}") for one in certificate.unmeasured]
    rows += [(check.name, "passed" if check.passed else "FAILED") for check in certificate.checks]
    return rows


def notes_of(certificate: CapacityCertificate) -> list[str]:
    """Why it says less than it seems to; empty = it may be relied on."""
    return [note for is_so, note in ((certificate.is_quick, QUICK), (certificate.is_noisy, NOISY)) if is_so]


def page_of(certificate: CapacityCertificate, *, pictures: Sequence[str]) -> str:
    """Markdown, with the pictures that lie next to it."""
    subject, machine, topology = certificate.subject, certificate.machine, certificate.topology
    versions = f"Python {certificate.versions.python}, PostgreSQL {certificate.versions.postgresql}"
    lines = [
        f"# Capacity certificate of {subject.kind} {subject.id}",
        "",
        "Written by `cellwallet loadtest certify` next to `certificate.json`; not edited by hand. How to read it:",
        "`docs/running/capacity.md`.",
        "",
        f"- {certificate.made_at}, version {subject.software_version}, {topology.api_processes} API process(es)",
        f"- {machine.cpu}, {machine.cores} cores, {machine.memory_mb / 1_024:.0f} GB, Linux {machine.kernel}",
        f"- {versions}",
        *(f"- **{note}**" for note in notes_of(certificate)),
        "",
        "| what | measured |",
        "| --- | --- |",
        *(f"| {what} | {measured} |" for what, measured in rows_of(certificate)),
        *(f"\n![{picture.removesuffix('.png')}]({picture})" for picture in pictures),
    ]
    return "\n".join(lines) + "\n"

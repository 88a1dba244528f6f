"""Whether a window of a bake speaks for a release: updated cells against the others in the same minutes, and the SLO.

Three answers, for "we do not know" must never count as "well": `inconclusive` lets nothing pass and rolls nothing back.
What burdens everybody alike is no fault of the release, and what nobody could see is no proof of its health.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from statistics import median

from contract.ids import CellId
from contract.values import value
from control_plane.rollouts.model import BakePolicy, CellFigures, JudgedWindow, Verdict

RATIO_MAX = 1.5
"""So much worse than the median of the others may be chance."""
ERROR_MARGIN = 0.0005
"""Below this difference nobody is worse, however large the ratio: two requests of a thousand are no trend."""
SAGA_MARGIN_S = 30.0


class Check(StrEnum):
    FIGURES = "figures"
    LEDGER = "ledger"
    RESTARTS = "restarts"
    REQUESTS = "requests"
    ERRORS = "errors"
    P99 = "p99"
    LOCK_WAITS = "lock_waits"
    TRANSFERS = "transfers"


@value
class Finding:
    """What was found of one cell by one check; the good ones are not told."""

    cell: CellId
    check: Check
    verdict: Verdict
    detail: str
    is_grave: bool = False


@value
class Judgement:
    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def is_grave(self) -> bool:
        return any(one.is_grave for one in self.findings)

    @property
    def detail(self) -> str:
        shown = [one for one in self.findings if one.verdict == self.verdict]
        return "; ".join(f"{one.cell}: {one.detail}" for one in shown)


def judge(
    updated: Mapping[CellId, CellFigures | None],
    others: Mapping[CellId, CellFigures | None],
    policy: BakePolicy,
    *,
    idle: frozenset[CellId] = frozenset(),
) -> Judgement:
    """None = the cell could not be seen. `others` run what ran before; there may be none of them left."""
    findings = tuple(
        finding
        for cell, figures in sorted(updated.items())
        for finding in _findings(cell, figures, updated, others, policy, is_idle=cell in idle)
    )
    verdicts = {one.verdict for one in findings}
    verdict: Verdict = "bad" if "bad" in verdicts else "inconclusive" if verdicts else "good"
    return Judgement(verdict=verdict, findings=findings)


def verdict_of(judgement: Judgement, doubt: str | None) -> tuple[Verdict, str]:
    """With its reason. Doubt whether it was the release that ran excuses nothing, and lets nothing pass."""
    if doubt is None or judgement.verdict == "bad":
        return judgement.verdict, judgement.detail
    return "inconclusive", doubt


def has_passed(windows: Sequence[JudgedWindow], policy: BakePolicy) -> bool:
    """Enough good windows since the last bad one. Inconclusive ones are as if they had not been."""
    good = 0
    for window in windows:
        good = 0 if window.verdict == "bad" else good + (window.verdict == "good")
    return good >= policy.windows_good


def why_failed(windows: Sequence[JudgedWindow], policy: BakePolicy) -> str | None:
    grave = next((one for one in windows if one.is_grave), None)
    if grave is not None:
        return grave.detail
    bad = [one for one in windows if one.verdict == "bad"]
    if len(bad) < policy.windows_bad_max:
        return None
    return f"{len(bad)} bad windows, the last: {bad[-1].detail}"


def _findings(
    cell: CellId,
    figures: CellFigures | None,
    updated: Mapping[CellId, CellFigures | None],
    others: Mapping[CellId, CellFigures | None],
    policy: BakePolicy,
    *,
    is_idle: bool,
) -> tuple[Finding, ...]:
    if figures is None:
        return (_unseen(cell, updated, others),)
    seen = [one for one in others.values() if one is not None]
    found = [_ledger(cell, figures), _restarts(cell, figures, seen), _transfers(cell, figures, seen, policy)]
    if figures.requests >= policy.requests_min:
        busy = [one for one in seen if one.requests >= policy.requests_min]
        found += [*_rates(cell, figures, busy, policy)]
    elif not is_idle:
        detail = f"{figures.requests:g} requests say nothing, {policy.requests_min} would"
        found.append(Finding(cell=cell, check=Check.REQUESTS, verdict="inconclusive", detail=detail))
    return tuple(one for one in found if one is not None)


def _unseen(
    cell: CellId, updated: Mapping[CellId, CellFigures | None], others: Mapping[CellId, CellFigures | None]
) -> Finding:
    """Where others can be seen, the eye is not to blame."""
    is_eye_open = any(one is not None for one in (*updated.values(), *others.values()))
    if is_eye_open:
        detail = "it gives no figures, and others do"
        return Finding(cell=cell, check=Check.FIGURES, verdict="bad", detail=detail)
    return Finding(cell=cell, check=Check.FIGURES, verdict="inconclusive", detail="nobody gives figures")


def _ledger(cell: CellId, figures: CellFigures) -> Finding | None:
    if figures.findings <= 0:
        return None
    detail = f"its audit has {figures.findings:g} findings"
    return Finding(cell=cell, check=Check.LEDGER, verdict="bad", detail=detail, is_grave=True)


def _restarts(cell: CellId, figures: CellFigures, seen: Sequence[CellFigures]) -> Finding | None:
    usual = median(one.restarts for one in seen) if seen else 0.0
    if figures.restarts <= usual:
        return None
    detail = f"{figures.restarts:g} of its processes began anew, {usual:g} elsewhere"
    return Finding(cell=cell, check=Check.RESTARTS, verdict="bad", detail=detail)


def _transfers(cell: CellId, figures: CellFigures, seen: Sequence[CellFigures], policy: BakePolicy) -> Finding | None:
    compared = _Compared(
        value=figures.saga_oldest_s,
        others=[one.saga_oldest_s for one in seen],
        limit=policy.saga_oldest_s_max,
        margin=SAGA_MARGIN_S,
    )
    return compared.finding(cell, Check.TRANSFERS, "its oldest unfinished transfer is {:.0f} s old")


def _rates(
    cell: CellId, figures: CellFigures, busy: Sequence[CellFigures], policy: BakePolicy
) -> Sequence[Finding | None]:
    errors = _Compared(
        value=figures.errors / figures.requests,
        others=[one.errors / one.requests for one in busy],
        limit=policy.error_share_max,
        margin=ERROR_MARGIN,
    )
    p99 = _Compared(
        value=figures.p99_ms,
        others=[one.p99_ms for one in busy if one.p99_ms is not None],
        limit=policy.p99_ms_max,
        margin=policy.latency_margin_ms,
    )
    waits = _Compared(
        value=figures.batch_p99_ms or 0.0,  # a cell may only have been read
        others=[one.batch_p99_ms or 0.0 for one in busy],
        limit=None,
        margin=policy.latency_margin_ms,
    )
    return (
        errors.finding(cell, Check.ERRORS, "{:.3%} of its requests failed"),
        p99.finding(cell, Check.P99, "p99 is {:.0f} ms"),
        waits.finding(cell, Check.LOCK_WAITS, "p99 of its batches is {:.0f} ms"),
    )


@value
class _Compared:
    """One figure of a cell against its limit and against the others."""

    value: float | None
    others: Sequence[float]
    limit: float | None
    margin: float

    def finding(self, cell: CellId, check: Check, words: str) -> Finding | None:
        if self.value is None:
            return Finding(cell=cell, check=check, verdict="inconclusive", detail="there was nothing to measure")
        usual = median(self.others) if self.others else None
        is_beyond = self.limit is not None and self.value > self.limit
        is_worse = usual is not None and self.value > usual * RATIO_MAX + self.margin
        if not is_beyond and not is_worse:
            return None
        elsewhere = "" if usual is None else f", {words.format(usual)} elsewhere"
        bound = f", at most {words.format(self.limit)}" if is_beyond and self.limit is not None else ""
        is_common = usual is not None and self.limit is not None and usual > self.limit and not is_worse
        verdict: Verdict = "inconclusive" if is_common else "bad"
        return Finding(cell=cell, check=check, verdict=verdict, detail=f"{words.format(self.value)}{elsewhere}{bound}")

"""What has to be reached, and whether a run reached it. Pure.

The numbers are those of the design; a target is judged only when every figure that it compares was measured in the
same run, and is not reached by figures that are invalid.
"""

from collections.abc import Mapping
from typing import Any, Literal

from contract.values import value
from loadtests.figures import Figure, figures_of_document

Figures = Mapping[str, Figure]

SQL_LEDGER_UNIFORM = ("sql_ledger.uniform.8", "sql_ledger.uniform.32")
SQL_LEDGER_HOT = ("sql_ledger.hot.8", "sql_ledger.hot.32")
P99_MS_MAX = 50.0
MOVED = {"slot": "slot", "hot": "hot wallet", "long": "slot with a long past"}


@value
class Goal:
    """One line of a target. `value` comes from the figures; the best of `over` is what it is divided by."""

    name: str
    figure: str
    reach: float
    then: float
    unit: str
    sense: Literal["at_least", "at_most"] = "at_least"
    over: tuple[str, ...] = ()
    latency: str = ""
    """Judge this quantile of the figure's latency instead of the figure."""

    is_of_every_round: bool = False
    """Judge the highest round: what may never happen may not be outvoted by rounds in which it did not."""

    is_optional: bool = False
    """Not judged where the program that it needs is not installed."""

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.figure, *self.over)

    def measured(self, figures: Figures) -> float:
        figure = figures[self.figure]
        if self.latency:
            return figure.median_of("latency_ms", self.latency) or 0.0
        if not self.over:
            return figure.highest if self.is_of_every_round else figure.median
        other = max((figures[name] for name in self.over), key=lambda one: one.median)
        return figure.over(other)

    def is_reached(self, measured: float, bound: float) -> bool:
        """Zero of what is to be little was not measured, but where nothing at all is the goal."""
        if self.sense == "at_least":
            return measured >= bound
        return measured <= bound and (measured > 0 or bound == 0)


GOALS: Mapping[str, tuple[Goal, ...]] = {
    "P1": (
        Goal(name="sustained rate", figure="write.uniform.sustained", reach=10_000, then=20_000, unit="commands/s"),
        Goal(
            name="p99 at that rate",
            figure="write.uniform.sustained",
            latency="p99",
            reach=P99_MS_MAX,
            then=P99_MS_MAX,
            unit="ms",
            sense="at_most",
        ),
        Goal(
            name="over SQL ledger in the database",
            figure="write.uniform.sustained",
            over=SQL_LEDGER_UNIFORM,
            reach=1.5,
            then=3.0,
            unit="x",
        ),
    ),
    "P2": (
        Goal(
            name="hot over uniform",
            figure="write.hot.peak",
            over=("write.uniform.peak",),
            reach=0.9,
            then=1.2,
            unit="x",
        ),
        Goal(
            name="over SQL ledger's hot account",
            figure="write.hot.peak",
            over=SQL_LEDGER_HOT,
            reach=8,
            then=20,
            unit="x",
        ),
    ),
    "P3": (
        Goal(name="bulk operations", figure="bulk.peak", reach=30_000, then=60_000, unit="operations/s"),
        Goal(
            name="over TigerBeetle",
            figure="bulk.peak",
            over=("tigerbeetle.peak",),
            reach=0.05,
            then=0.1,
            unit="x",
            is_optional=True,
        ),
    ),
    "P4": (
        Goal(
            name="embedded router over direct",
            figure="router.embedded.peak",
            over=("router.direct.peak",),
            reach=0.5,
            then=0.8,
            unit="x",
        ),
        Goal(
            name="embedded router, added p50 at half load",
            figure="router.embedded.added",
            reach=1,
            then=1,
            unit="ms",
            sense="at_most",
        ),
        Goal(
            name="HAProxy over direct",
            figure="router.haproxy.peak",
            over=("router.direct.peak",),
            reach=0.85,
            then=0.95,
            unit="x",
            is_optional=True,
        ),
    ),
    "P6": (
        Goal(
            name="long past over fresh",
            figure="growth.grown.peak",
            over=("growth.small.peak",),
            reach=0.85,
            then=0.95,
            unit="x",
        ),
    ),
    "P7": (
        Goal(
            name="with a standby over without",
            figure="standby.uniform.peak",
            over=("standby.uniform.without",),
            reach=0.6,
            then=0.85,
            unit="x",
        ),
        Goal(
            name="the same, sustained",
            figure="standby.uniform.sustained",
            over=("write.uniform.sustained",),
            reach=0.6,
            then=0.85,
            unit="x",
        ),
        Goal(
            name="hot wallet, with a standby over without",
            figure="standby.hot.peak",
            over=("standby.hot.without",),
            reach=0.8,
            then=0.85,
            unit="x",
        ),
    ),
    "P8": (
        *(
            Goal(
                name=f"pause p99, {told}",
                figure=f"moves.{subject}.pause",
                reach=300,
                then=50,
                unit="ms",
                sense="at_most",
            )
            for subject, told in MOVED.items()
        ),
        *(
            Goal(
                name=f"longest wait of a vendor p99, {told}",
                figure=f"moves.{subject}.wait",
                reach=300,
                then=50,
                unit="ms",
                sense="at_most",
            )
            for subject, told in MOVED.items()
        ),
        Goal(
            name="errors at the vendor",
            figure="moves.errors",
            reach=0,
            then=0,
            unit="errors",
            sense="at_most",
            is_of_every_round=True,
        ),
    ),
    "P9": (
        Goal(name="accepted over capacity", figure="overload.accepted", reach=0.9, then=0.97, unit="x"),
        Goal(
            name="accepted p99",
            figure="overload.accepted",
            latency="p99",
            reach=P99_MS_MAX,
            then=P99_MS_MAX,
            unit="ms",
            sense="at_most",
        ),
        Goal(
            name="turned away p99",
            figure="overload.accepted",
            latency="turned_away_p99",
            reach=20,
            then=5,
            unit="ms",
            sense="at_most",
        ),
    ),
    "P10": (
        Goal(name="API process", figure="memory.api", reach=200, then=100, unit="MB", sense="at_most"),
        Goal(name="router", figure="memory.router", reach=120, then=60, unit="MB", sense="at_most"),
        Goal(name="API, end over begin", figure="memory.api.growth", reach=1.1, then=1.02, unit="x", sense="at_most"),
        Goal(
            name="router, end over begin",
            figure="memory.router.growth",
            reach=1.1,
            then=1.02,
            unit="x",
            sense="at_most",
        ),
    ),
    "P5": (
        Goal(name="balance reads", figure="read.balance", reach=15_000, then=25_000, unit="reads/s"),
        Goal(
            name="balance at T, long over short",
            figure="read.at.long",
            over=("read.at.short",),
            reach=1.3,
            then=1.1,
            unit="x",
            sense="at_most",
        ),
        Goal(
            name="history page, long over short",
            figure="read.page.long",
            over=("read.page.short",),
            reach=1.3,
            then=1.1,
            unit="x",
            sense="at_most",
        ),
    ),
    "P11": (
        Goal(name="API process ready", figure="start.api", reach=2, then=1, unit="s", sense="at_most"),
        Goal(name="up on nothing", figure="start.up.fresh", reach=30, then=10, unit="s", sense="at_most"),
        Goal(name="up on data", figure="start.up.again", reach=30, then=10, unit="s", sense="at_most"),
    ),
    "F": (
        Goal(
            name="primary killed: longest time without acknowledged writes",
            figure="failover.killed",
            reach=30,
            then=2,
            unit="s",
            sense="at_most",
            is_of_every_round=True,
        ),
        Goal(
            name="planned switch-over: the same",
            figure="failover.switched",
            reach=5,
            then=1,
            unit="s",
            sense="at_most",
            is_of_every_round=True,
        ),
    ),
}


def judge(figures: Figures, *, is_sound: bool) -> dict[str, dict[str, Any]]:
    """The targets of which everything was measured: the first goal is the target's value, all must be reached.

    A run that is not sound as a whole (its last audit failed) reaches nothing.
    """
    judged = {}
    for name, goals in GOALS.items():
        if all(need in figures for goal in goals if not goal.is_optional for need in goal.needs):
            wanted = [goal for goal in goals if all(need in figures for need in goal.needs)]
            parts = [_judge_goal(goal, figures, is_sound=is_sound) for goal in wanted]
            judged[name] = {
                "value": parts[0]["value"],
                "unit": parts[0]["unit"],
                "target": parts[0]["target"],
                "reached": all(part["reached"] for part in parts),
                "then": parts[0]["then"],
                "then_reached": all(part["then_reached"] for part in parts),
                "parts": parts,
            }
    return judged


def ratios(figures: Figures) -> dict[str, float]:
    """Every comparison that the figures allow, by what is compared."""
    found = {}
    for goals in GOALS.values():
        for goal in goals:
            if goal.over and all(need in figures for need in goal.needs):
                found[f"{goal.figure} / {_stem(goal.over)}"] = round(goal.measured(figures), 3)
    return found


def judged_again(document: dict[str, Any]) -> dict[str, Any]:
    """The document of a run with the verdicts and ratios of today: runs of two versions are compared by one rule."""
    figures = figures_of_document(document["figures"])
    is_sound = all(check["passed"] for check in document["checks"])
    return document | {"ratios": ratios(figures), "targets": judge(figures, is_sound=is_sound)}


def _judge_goal(goal: Goal, figures: Figures, *, is_sound: bool) -> dict[str, Any]:
    measured = goal.measured(figures)
    is_valid = is_sound and all(figures[need].is_valid for need in goal.needs)
    return {
        "name": goal.name,
        "value": round(measured, 3),
        "unit": goal.unit,
        "sense": goal.sense,
        "target": goal.reach,
        "reached": is_valid and goal.is_reached(measured, goal.reach),
        "then": goal.then,
        "then_reached": is_valid and goal.is_reached(measured, goal.then),
    }


def _stem(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else names[0].rpartition(".")[0]

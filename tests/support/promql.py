"""Just enough of PromQL to ask an expression what it names: metrics, their matchers, and the labels that it groups by.

Not a parser: it cannot tell whether an expression is right, only whether what it names is there.
"""

import re
from collections.abc import Mapping

from exported_metrics import Labels

from contract.values import value

KEYWORDS = frozenset(
    ("and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset", "inf")
)
_TEXT = r'"(?:[^"\\]|\\.)*"'
_MATCHERS = rf"\{{(?:[^{{}}\"]|{_TEXT})*\}}"
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)")
_SELECTOR = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*({_MATCHERS})?\s*(\()?")
_MATCHER = re.compile(rf"([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*({_TEXT})")
_RANGE = re.compile(r"\[[^\]]*\]")


@value
class Selector:
    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, text."""


@value
class Question:
    selectors: tuple[Selector, ...]
    grouped_by: Labels


def question_of(expression: str) -> Question:
    grouped_by = frozenset(
        label.strip() for group in _GROUPING.findall(expression) for label in group.split(",") if label.strip()
    )
    rest = _RANGE.sub("", _GROUPING.sub(" ", expression))
    selectors = []
    for name, matchers, call in _SELECTOR.findall(rest):
        if call or name.lower() in KEYWORDS or re.fullmatch(r"[eE]\d*", name):
            continue
        found = tuple((label, operator, text[1:-1]) for label, operator, text in _MATCHER.findall(matchers))
        selectors.append(Selector(metric=name, matchers=found))
    return Question(selectors=tuple(selectors), grouped_by=grouped_by)


def flaws(expression: str, known: Mapping[str, Labels]) -> list[str]:
    """What the expression names and nobody exports; empty when all of it is there."""
    question = question_of(expression)
    out = [] if question.selectors else ["it asks for no metric"]
    available: set[str] = set()
    for selector in question.selectors:
        labels = known.get(selector.metric)
        if labels is None:
            out.append(f"nobody exports {selector.metric}")
            continue
        available |= labels
        out += [f"{selector.metric} has no label {label}" for label, _, _ in selector.matchers if label not in labels]
    return out + [f"nothing has the label {label}" for label in sorted(question.grouped_by - available)]


def labels_left(expression: str, known: Mapping[str, Labels]) -> Labels:
    """Those that a result may have: of the grouping where there is one, of the metrics otherwise."""
    question = question_of(expression)
    if question.grouped_by:
        return question.grouped_by - {"le"}
    if re.match(r"\s*-?\s*(?:sum|max|min|count|avg)\s*\(", expression):
        return frozenset()
    return frozenset().union(*(known.get(selector.metric, frozenset()) for selector in question.selectors))

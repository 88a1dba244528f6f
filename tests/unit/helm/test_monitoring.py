"""Alert rules and dashboards, held against the metrics that the services really export."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import HELM, example, needs_helm, of_kind, render
from exported_metrics import OWN_TARGET_LABELS, TARGET_LABELS, Labels, exported
from promql import flaws, labels_left, question_of

from contract.reasons import Reason
from control_plane.moves.states import MOVE_STATES
from control_plane.rollouts.states import ROLLOUT_STATES
from control_plane.store.tables import CELL_STATES

FILES = HELM / "control-plane" / "files"
RULES, DASHBOARDS = sorted((FILES / "rules").glob("*.yaml")), sorted((FILES / "dashboards").glob("*.json"))
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed: apt-get install prometheus")
SEVERITIES = {"info", "warning", "critical"}
VALUES = {
    ("cell_refused_total", "reason"): {reason.value for reason in Reason},
    ("cell_database_errors_total", "kind"): {"lost", "busy", "refused"},
    ("cell_configuration_fetches_total", "result"): {"applied", "unchanged", "refused", "not_given", "unreachable"},
    ("cell_registrations_total", "result"): {"registered", "refused", "unreachable"},
    ("cell_duty_rounds_total", "duty"): {"recent_audit", "checkpoints", "expiry", "housekeeping"},
    ("control_plane_actions_total", "outcome"): {"done", "not_done"},
    ("control_plane_moves", "state"): set(MOVE_STATES),
    ("control_plane_cells", "state"): set(CELL_STATES),
    ("control_plane_rollouts", "state"): set(ROLLOUT_STATES),
    ("router_requests_total", "status"): {f"{number}xx" for number in range(1, 6)},
    ("up", "job"): set(OWN_TARGET_LABELS),
}
"""Values of labels that expressions may ask for, where the code has a closed set of them."""


@pytest.fixture(scope="session")
def known() -> dict[str, Labels]:
    """Sample to labels; several services may export the same one, such as those of every process."""
    everything: dict[str, Labels] = {"up": TARGET_LABELS | {"cell", "zone"}}
    for of_job in exported().values():
        for name, labels in of_job.items():
            everything[name] = everything.get(name, frozenset()) | labels
    return everything


def rules() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                yield f"{path.stem}-{rule['alert']}", rule


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            yield f"{path.stem}-{panel['title']}", panel


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((name, rule["expr"]) for name, rule in rules())
    for name, panel in panels():
        yield from ((f"{name}-{target['refId']}", target["expr"]) for target in panel["targets"])


EVERY = list(expressions())
PARAMETERS = {"argvalues": [pytest.param(text, id=name) for name, text in EVERY]}


def test_there_is_something_to_hold_to_account() -> None:
    assert len(list(rules())) > 30
    assert len(list(panels())) > 40


@pytest.mark.parametrize("expression", **PARAMETERS)
def test_an_expression_names_only_what_is_exported(expression: str, known: dict[str, Labels]) -> None:
    assert flaws(expression, known) == []


@pytest.mark.parametrize("expression", **PARAMETERS)
def test_an_expression_asks_for_values_that_there_can_be(expression: str) -> None:
    for selector in question_of(expression).selectors:
        for label, operator, text in selector.matchers:
            possible = VALUES.get((selector.metric, label))
            if possible is not None:
                wanted = set(text.split("|")) if operator in {"=~", "!~"} else {text}
                assert wanted <= possible, f"{selector.metric}: {label} is never {sorted(wanted - possible)}"
            elif operator == "=":
                assert text == "" or label == "job", f"{selector.metric}: is {label} ever {text!r}?"


@pytest.mark.parametrize("expression", **PARAMETERS)
def test_counters_are_asked_how_fast_they_grow_and_nothing_else_is(expression: str) -> None:
    for selector in question_of(expression).selectors:
        name = re.escape(selector.metric)
        is_counter = selector.metric.endswith(("_total", "_bucket", "_sum", "_count"))
        is_grown = bool(re.search(rf"\b(?:rate|increase)\(\s*{name}\b", expression))
        assert is_counter == is_grown, selector.metric


@pytest.mark.parametrize("expression", **PARAMETERS)
def test_brackets_are_closed(expression: str) -> None:
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    for opening, closing in ("()", "[]", "{}"):
        assert bare.count(opening) == bare.count(closing)


@pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in rules()])
def test_an_alert_says_what_it_means_with_labels_that_it_has(rule: dict[str, Any], known: dict[str, Labels]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.fullmatch(r"[A-Z][A-Za-z]+", rule["alert"])
    used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    assert used <= labels_left(rule["expr"], known)


def test_no_alert_stands_twice() -> None:
    names = [rule["alert"] for _, rule in rules()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("panel", [pytest.param(panel, id=name) for name, panel in panels()])
def test_a_legend_names_labels_that_are_there(panel: dict[str, Any], known: dict[str, Labels]) -> None:
    for target in panel["targets"]:
        used = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"]))
        assert used <= labels_left(target["expr"], known), target["expr"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_stands_on_its_own(path: Path, known: dict[str, Labels]) -> None:
    board = json.loads(path.read_text())
    variables = {one["name"]: one for one in board["templating"]["list"]}
    text = json.dumps(board["panels"])
    assert set(re.findall(r"\$\{?([a-z]+)\}?", text)) <= variables.keys()
    assert "__inputs" not in board
    for one in variables.values():
        if one["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"]["query"])
            assert found is not None
            assert found[2] in known[found[1]]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert all(x + width <= 24 for x, _, width, _ in places)
    assert len({(x, y) for x, y, _, _ in places}) == len(places)


def test_dashboards_are_told_apart() -> None:
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len({board["title"] for board in boards}) == len(boards)


@pytest.mark.parametrize(
    ("expression", "flaw"),
    [
        ("sum(rate(cell_acepted_total[5m]))", "nobody exports cell_acepted_total"),
        ('rate(cell_refused_total{reasons="x"}[5m])', "cell_refused_total has no label reasons"),
        ("sum by (vendor) (rate(cell_accepted_total[5m]))", "nothing has the label vendor"),
        ('max(router_breaker_state{exported_cell="x"})', "router_breaker_state has no label exported_cell"),
        ("vector(1)", "it asks for no metric"),
    ],
)
def test_what_nobody_exports_is_found(expression: str, flaw: str, known: dict[str, Labels]) -> None:
    assert flaws(expression, known) == [flaw]


def test_names_that_two_sides_use_are_told_apart(known: dict[str, Labels]) -> None:
    """The router's own `instance` loses to the scraped one, and its own `cell` does not, because no target has that."""
    assert {"exported_instance", "instance", "cell"} <= known["router_breaker_state"]
    assert {"exported_cell", "cell", "exported_zone", "version"} <= known["cell_info"]


@needs_helm
def test_monitors_add_the_labels_that_rules_go_by() -> None:
    found: dict[str, set[str]] = {}
    for chart, name in (
        ("cell-app", "monitored"),
        ("cell-platform", "large"),
        ("router", "cloud"),
        ("control-plane", "monitored"),
    ):
        for monitor in of_kind(render(chart, example(chart, name)), "PodMonitor"):
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            added = {one["targetLabel"]: one.get("replacement") for one in endpoint["relabelings"]}
            found.setdefault(added.pop("job"), set()).update(added)
    assert found == {job: set(labels) for job, labels in OWN_TARGET_LABELS.items()}


@needs_helm
def test_the_chart_passes_rules_and_dashboards_on_as_they_are() -> None:
    objects = render("control-plane", example("control-plane", "monitored"))
    passed_on = {one["metadata"]["name"]: one["spec"] for one in of_kind(objects, "PrometheusRule")}
    wanted = {f"cellwallet-{path.stem.replace('_', '-')}": yaml.safe_load(path.read_text()) for path in RULES}
    assert passed_on == wanted
    boards = {file: json.loads(text) for one in of_kind(objects, "ConfigMap") for file, text in one["data"].items()}
    assert boards == {path.name: json.loads(path.read_text()) for path in DASHBOARDS}
    assert all(one["metadata"]["labels"]["grafana_dashboard"] == "1" for one in of_kind(objects, "ConfigMap"))


@needs_promtool
def test_prometheus_itself_takes_the_rules() -> None:
    promtool("check", "rules", *map(str, RULES))


@needs_promtool
def test_prometheus_itself_takes_what_dashboards_ask(tmp_path: Path) -> None:
    asked = [text.replace("$cell", ".+").replace("$zone", ".+") for _, text in EVERY]
    rules = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(asked)]
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "asked.yaml"))


@needs_promtool
def test_alerts_are_raised_when_they_should_and_only_then(tmp_path: Path) -> None:
    cases = yaml.safe_load((Path(__file__).parent / "rules_test.yaml").read_text())
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(cases | {"rule_files": [str(path) for path in RULES]}))
    promtool("test", "rules", str(tmp_path / "test.yaml"))


@needs_promtool
@pytest.mark.parametrize(
    ("file", "old", "new", "alert"),
    [
        ("routers.yaml", '{exported_instance=""}', "", "RouterBreakerIsOpen"),
        ("control_plane.yaml", 'state="failed"', 'state="done"', "RolloutWentBack"),
        ("control_plane.yaml", "for: 20m", "for: 1m", "RolloutDoesNotGetBack"),
        ("control_plane.yaml", "|passed", "", "RolloutHolds"),
    ],
)
def test_an_alert_that_should_not_be_raised_is_noticed(
    tmp_path: Path, file: str, old: str, new: str, alert: str
) -> None:
    cases = yaml.safe_load((Path(__file__).parent / "rules_test.yaml").read_text())
    text = (FILES / "rules" / file).read_text()
    assert old in text, "the mutant must be drawn anew"
    (tmp_path / file).write_text(text.replace(old, new))
    rules = [path for path in RULES if path.name != file] + [tmp_path / file]
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(cases | {"rule_files": [str(path) for path in rules]}))
    with pytest.raises(AssertionError, match=alert):
        promtool("test", "rules", str(tmp_path / "test.yaml"))


def promtool(*arguments: str) -> None:
    told = subprocess.run([str(PROMTOOL), *arguments], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr

"""What every workload must obey, held against every example; and spoilt charts (mutants.yaml), which are found out."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from chart_laws import LAWS, Law
from charts import EXAMPLES, Object, example, needs_helm, render, render_spoilt

LAW_BY_NAME = {law.__name__: law for law in LAWS}
EXAMPLE_OF = {"cell-app": "monitored", "cell-platform": "small", "router": "cloud", "control-plane": "monitored"}
MUTANTS: list[dict[str, Any]] = [
    {**mutant, "chart": chart}
    for mutant in yaml.safe_load((Path(__file__).parent / "mutants.yaml").read_text())
    for chart in mutant["charts"]
]


@pytest.fixture(params=EXAMPLES, ids="-".join)
def rendered(request: pytest.FixtureRequest) -> list[Object]:
    chart, name = request.param
    return render(chart, example(chart, name))


@needs_helm
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_every_example_obeys(law: Law, rendered: list[Object]) -> None:
    law(rendered)


@needs_helm
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one['chart']}-{one['law']}-{one['new']}")
def test_a_chart_with_one_constraint_less_is_found_out(mutant: dict[str, Any]) -> None:
    chart, file = mutant["chart"], f"templates/{mutant['file']}"
    values = example(chart, EXAMPLE_OF[chart])
    spoilt = render_spoilt(chart, values, file=file, old=mutant["old"], new=mutant["new"])
    with pytest.raises(AssertionError):
        LAW_BY_NAME[mutant["law"]](spoilt)


def test_every_law_has_a_chart_that_breaks_it() -> None:
    assert {mutant["law"] for mutant in MUTANTS} == LAW_BY_NAME.keys()

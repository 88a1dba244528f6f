"""What `pulumi preview` and `pulumi up` run, in this folder: the stack that its file asks for."""

from pathlib import Path

import pulumi

from contract.certificate import CapacityCertificate, certificate_of
from infra.charts import helm_renderer
from infra.program import run

FOLDER = Path(__file__).parent
"""Of the stack's files, from which their paths lead."""


def read(path: str) -> CapacityCertificate:
    return certificate_of((FOLDER / path).read_bytes())


if __name__ == "__main__":
    run(pulumi.Config("cellwallet").require_object("stack"), render=helm_renderer(), read=read)

"""An installation as values: the objects of one cell, what became of each, and who else owns a field of them."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from contract.ids import CellId
from contract.values import value

Document = dict[str, Any]
"""An object of Kubernetes as JSON."""

KINDS: Mapping[str, str] = {
    "Service": "v1",
    "PodDisruptionBudget": "policy/v1",
    "Job": "batch/v1",
    "Deployment": "apps/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
}
"""What the chart cell-app makes, with its version, in the order of applying: pods come after what they need."""


class InstallationRefusal(StrEnum):
    """Why nothing was installed, in order of precedence."""

    INSTALLATION_MUST_BE_POSSIBLE_HERE = "installation_must_be_possible_here"
    OBJECTS_MUST_BE_OF_THE_CHART = "objects_must_be_of_the_chart"
    OBJECTS_MUST_BE_OF_THE_CELL = "objects_must_be_of_the_cell"
    ZONES_MUST_BE_THREE_OR_MORE = "zones_must_be_three_or_more"
    PROCESSES_MUST_LEAVE_HEADROOM = "processes_must_leave_headroom"
    IMAGE_MUST_NAME_ITS_CONTENT = "image_must_name_its_content"
    ANOTHER_ROLLOUT_MUST_HAVE_ENDED = "another_rollout_must_have_ended"
    IMAGE_MUST_BE_THE_ONE_THAT_RUNS = "image_must_be_the_one_that_runs"
    FIELDS_MUST_HAVE_ONE_OWNER = "fields_must_have_one_owner"
    CLUSTER_MUST_ACCEPT = "cluster_must_accept"
    CLUSTER_MUST_ANSWER = "cluster_must_answer"


@value
class InstallationRefused:
    reason: InstallationRefusal
    detail: str


@value
class Installation:
    cell: CellId
    image: str
    replicas: Mapping[str, int]
    """Of each zone."""
    objects: tuple[Document, ...]
    """In the order in which they are applied."""


Change = Literal["created", "changed", "unchanged"]


@value
class ObjectInstalled:
    kind: str
    name: str
    change: Change


@value
class Installed:
    objects: tuple[ObjectInstalled, ...]


@value
class FieldOwner:
    """Somebody else says what a field of ours shall be."""

    kind: str
    name: str
    field: str
    owner: str


@value
class Contested:
    """Two owners of one field: nothing was overruled, and nothing changed."""

    fields: Sequence[FieldOwner]

    @property
    def detail(self) -> str:
        told = [f"{one.field} of {one.kind} {one.name} is {one.owner}'s" for one in self.fields]
        return f"two owners of one field: {'; '.join(told)}"


@value
class RunsAnother:
    """The cell is there, with another image: versions are brought by rollouts."""

    images: tuple[str, ...]

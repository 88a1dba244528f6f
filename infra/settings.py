"""What a stack is asked to be: one closed model for each kind of stack, and refusals that say what must hold. Pure.

Read from what stands under `cellwallet:stack` in the stack's file (`Pulumi.NAME.yaml`). There is no setting for the
version of a cell: the control plane owns that, and infra must not be able to take it back.
"""

import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.refusals import refusals

PLACE = "cellwallet:stack"
"""The key under `config` of a stack's file."""
ZONES_MIN, ZONES_MAX = 3, 9
KUBERNETES_MIN = (1, 35)
"""As the charts say."""


class SettingsMustBeSoundError(ValueError):
    """What a stack is asked to be cannot be meant; the message names every place and what must hold there."""


def _matching(pattern: str, must: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"must {must}, not {text!r}")
        return text

    return AfterValidator(check)


def _network(text: str) -> str:
    try:
        ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"must be an IPv4 network such as 10.0.0.0/16, not {text!r}") from error
    return text


def _zones(zones: tuple[str, ...]) -> tuple[str, ...]:
    if not ZONES_MIN <= len(zones) <= ZONES_MAX:
        raise ValueError(
            f"must be {ZONES_MIN} to {ZONES_MAX}: one may be lost, and PostgreSQL then needs a majority of the others; "
            f"not {len(zones)}"
        )
    if len(set(zones)) != len(zones):
        raise ValueError("must be different from one another")
    return zones


Name = Annotated[
    str, _matching(r"[a-z]([a-z0-9-]{0,30}[a-z0-9])?", "be small letters, digits and dashes, a letter first, up to 32")
]
Namespace = Annotated[str, _matching(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "be the name of a namespace")]
Zone = Annotated[str, _matching(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", "be a zone as the nodes' label names it")]
Zones = Annotated[tuple[Zone, ...], AfterValidator(_zones)]
Cidr = Annotated[str, AfterValidator(_network)]
Cidrs = tuple[Cidr, ...]
Quantity = Annotated[str, _matching(r"[1-9][0-9]*(Mi|Gi|Ti)", "be a size such as 100Gi")]
Repository = Annotated[
    str, _matching(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+", "be a registry and a path without a tag")
]
Digest = Annotated[
    str,
    _matching(
        r"sha256:[0-9a-f]{64}", "be sha256: and 64 hexadecimal digits, so that what runs cannot change under a name"
    ),
]
Secret = Annotated[str, _matching(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", "be the name of a Secret")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=0)]
AtLeastOne = Annotated[int, Field(strict=True, ge=1)]
Port = Annotated[int, Field(strict=True, ge=1, le=65_535)]


class _Closed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Image(_Closed):
    """Never by a tag: what runs must not change under its name."""

    repository: Repository
    digest: Digest

    @model_validator(mode="before")
    @classmethod
    def _must_be_taken_apart(cls, document: Any) -> Any:
        if isinstance(document, str):
            raise ValueError(f"must be a repository and a digest, not a name with or without a tag: {document!r}")  # noqa: TRY004 - pydantic reads ValueError
        return document


class NodePool(_Closed):
    """What the nodes of a pool are, in every zone alike; how many there are comes from headroom."""

    instance_type: Annotated[str, _matching(r"[a-z0-9-]+\.[a-z0-9-]+", "be an instance type such as m7i.2xlarge")]
    cores: Positive
    """That pods may have: without what the system keeps for itself."""
    memory_gib: Positive
    """Likewise."""
    spare: Count = 1
    """Nodes of each zone that may be missing at any time."""
    disk_gib: Annotated[int, Field(strict=True, ge=20)] = 50
    architecture: Literal["x86_64", "arm64"] = "x86_64"


class Kubeconfig(_Closed):
    """A cluster that somebody else made, with its nodes."""

    kind: Literal["kubeconfig"]
    context: Annotated[str, Field(min_length=1)]
    """Always named: what KUBECONFIG happens to point at may be another cluster."""
    file: str | None = None
    """None = where kubectl looks; a path is written into the stack's state and must be the same for everybody."""


class Eks(_Closed):
    """The cluster of a stack of the kind `ground`; this stack brings the nodes that it needs."""

    kind: Literal["eks"]
    ground: Annotated[str, _matching(r"[\w.-]+/[\w.-]+/[\w.-]+", "name a stack as organization/project/stack")]
    app_nodes: NodePool
    database_nodes: NodePool
    """Spare ones are not needed: a zone without its instance is what the database survives."""


Substrate = Annotated[Kubeconfig | Eks, Field(discriminator="kind")]


class Capacity(_Closed):
    """What headroom reckons with; the formulas and their defaults are `cellwallet.headroom`'s."""

    certificate: Annotated[str, Field(min_length=1)]
    """Path of a cell's capacity certificate (JSON), from the folder `infra`."""
    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Of a process' safe rate, with a zone gone and processes missing."""
    missing: AtLeastOne = 1
    """Processes of each zone that may be missing at any time; a roll-out alone takes one."""
    zone_shares: tuple[float, ...] = ()
    """Of the zones, in their order, where traffic stays in its zone; empty = it goes anywhere."""


class FleetCapacity(Capacity):
    demand_per_s: Positive
    """Commands of the whole fleet, today."""
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.15
    growth_per_day: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    lead_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 7.0
    router_process_per_s: Positive | None = None
    """Safe rate of a router; None = as the certificate has measured it."""


class Database(_Closed):
    image: Image
    storage_class: Secret
    """Of zonal volumes that are bound when their pod has a node (WaitForFirstConsumer)."""
    storage: Quantity = "100Gi"
    wal_storage: Quantity = "30Gi"
    dedicated_nodes: bool = True
    """Whether instances live on nodes with the label and taint cellwallet/pool=postgres."""


class CellDatabase(Database):
    size: Literal["small", "medium", "large"] = "small"


class Network(_Closed):
    """Namespaces of the others, and addresses that policies let through."""

    router_namespace: Namespace = "router"
    control_plane_namespace: Namespace = "control-plane"
    monitoring_namespace: Namespace = "monitoring"
    operator_namespace: Namespace = "cnpg-system"
    api_server_cidrs: Annotated[Cidrs, Field(min_length=1)]
    api_server_port: Port = 443
    backup_cidrs: Cidrs = ()


class CellNetwork(Network):
    webhooks: bool = True
    broker_cidrs: Cidrs = ()


class FleetNetwork(Network):
    operator_cidrs: Cidrs = ()
    """Where operators reach the control plane from; empty = only by `kubectl port-forward`."""


class Entrance(_Closed):
    type: Literal["ClusterIP", "LoadBalancer"] = "ClusterIP"
    annotations: dict[str, str] = {}
    """The cloud's; its load balancers must not cross zones."""


class Router(_Closed):
    image: Image
    identity_secret: Secret = "router-identity"  # noqa: S105 - its name
    entrance: Entrance = Entrance()
    settings: dict[str, str] = {}


class Releases(_Closed):
    """What brings versions to the cells of this cluster."""

    by: Literal["nobody", "kubernetes"] = "nobody"
    cordon: bool = False
    """Whether an evacuation may close the nodes of its zone."""

    @model_validator(mode="after")
    def _must_fit_together(self) -> Self:
        if self.cordon and self.by == "nobody":
            raise ValueError("cordon must be false where by is nobody: nobody asks the cluster then")
        return self


class ControlPlane(_Closed):
    image: Image
    database: Database
    identity_secret: Secret = "control-plane-identity"  # noqa: S105 - its name
    replicas_per_zone: AtLeastOne = 1
    first_cells: AtLeastOne = 3
    releases: Releases = Releases()
    settings: dict[str, str] = {}


class Monitoring(_Closed):
    """Objects of the Prometheus operator, and a ConfigMap for Grafana's sidecar."""

    pod_monitors: bool = False
    rules: bool = False
    dashboards: bool = False


class GroundSettings(_Closed):
    """Network and cluster of a fleet in AWS, once for all of its cells."""

    kind: Literal["ground"]
    name: Name
    region: Annotated[str, _matching(r"[a-z]{2}(-[a-z]+)+-[0-9]", "be a region such as eu-west-1")]
    zones: Zones
    """Only ever added to at the end: a zone's place in the list is its place in the address range."""
    kubernetes: Annotated[str, _matching(r"1\.[0-9]{2}", "be a version such as 1.35, in quotes")]
    system_nodes: NodePool
    address_range: Cidr = "10.0.0.0/16"
    operator_cidrs: Cidrs = ()
    """Where operators reach the Kubernetes API from; empty = only from within the network."""
    is_retired: bool = False

    @model_validator(mode="after")
    def _must_fit_together(self) -> Self:
        strangers = [zone for zone in self.zones if not zone.startswith(self.region)]
        if strangers:
            raise ValueError(f"zones must be of the region {self.region}, not {', '.join(strangers)}")
        if ipaddress.IPv4Network(self.address_range).prefixlen != 16:
            raise ValueError(f"address_range must be a /16, not {self.address_range}")
        if tuple(map(int, self.kubernetes.split("."))) < KUBERNETES_MIN:
            raise ValueError(f"kubernetes must be at least {'.'.join(map(str, KUBERNETES_MIN))}, not {self.kubernetes}")
        if any(ipaddress.IPv4Network(cidr).prefixlen == 0 for cidr in self.operator_cidrs):
            raise ValueError("operator_cidrs must not be the whole internet")
        return self


class _OnCluster(_Closed):
    zones: Zones
    substrate: Substrate

    def _database_must_have_its_nodes(self, database: Database) -> None:
        if isinstance(self.substrate, Eks) and not database.dedicated_nodes:
            raise ValueError("dedicated_nodes must be true on eks: substrate.database_nodes take nothing else")


class FleetSettings(_OnCluster):
    """Routers and control plane: what is once for all cells."""

    kind: Literal["fleet"]
    capacity: FleetCapacity
    router: Router
    control_plane: ControlPlane
    network: FleetNetwork
    monitoring: Monitoring = Monitoring()
    is_retired: bool = False
    """Lifts the protection of the data, so that the stack can be destroyed."""

    @model_validator(mode="after")
    def _must_fit_together(self) -> Self:
        self._database_must_have_its_nodes(self.control_plane.database)
        if self.network.router_namespace == self.network.control_plane_namespace:
            raise ValueError("network.router_namespace and network.control_plane_namespace must be two")
        return self


class CellSettings(_OnCluster):
    """One cell, without its version."""

    kind: Literal["cell"]
    id: Name
    """As in the directory; also the name of its namespace."""
    home_zone: Zone
    """Where its primary database normally runs."""
    capacity: Capacity
    database: CellDatabase
    network: CellNetwork
    operator_account: Namespace = "control-plane"
    """The service account that may bring versions of the cell, in the namespace of the control plane."""
    pod_monitors: bool = False
    is_retired: bool = False
    """Lifts the protection of its data, so that the stack can be destroyed."""

    @model_validator(mode="after")
    def _must_fit_together(self) -> Self:
        self._database_must_have_its_nodes(self.database)
        if self.home_zone not in self.zones:
            raise ValueError(f"home_zone must be one of the zones, not {self.home_zone}")
        others = {name for field, name in self.network if field.endswith("_namespace")}
        if self.id in others:
            raise ValueError(f"id must not be the namespace of another part: {self.id}")
        return self


StackSettings = GroundSettings | FleetSettings | CellSettings
MODELS: Mapping[str, type[StackSettings]] = {
    "ground": GroundSettings,
    "fleet": FleetSettings,
    "cell": CellSettings,
}


def settings_of(document: Any) -> StackSettings:
    """What stands under `cellwallet:stack`, checked as a whole.

    Raises:
        SettingsMustBeSoundError: something in it cannot be meant.

    """
    kind = document.get("kind") if isinstance(document, Mapping) else None
    model = MODELS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise SettingsMustBeSoundError(f"{PLACE}: kind must be one of {', '.join(MODELS)}, not {kind!r}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise SettingsMustBeSoundError("\n".join(refusals(error, model))) from error


def settings_in(text: str) -> StackSettings:
    """Of the text of a stack's file, as `settings_of`."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsMustBeSoundError(f"the file must be YAML: {error}") from error
    config = document.get("config") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping) or PLACE not in config:
        raise SettingsMustBeSoundError(f"the file must have {PLACE} under config")
    return settings_of(config[PLACE])

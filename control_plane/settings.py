"""Everything that can be set from outside for one process of the control plane, and nothing that cannot.

Read once, in `__main__.py`, from environment variables with the prefix `CONTROL_PLANE_`; passed on by constructor.
A variable with the prefix that is no field here is refused: a misspelt one must not silently become its default.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from contract.scopes import AUDIENCE
from contract.slots import SLOTS
from control_plane.logs import LogLevel
from control_plane.moves.model import MOVES_PER_CELL_MAX

PREFIX = "CONTROL_PLANE_"


class Settings(BaseSettings):
    """The environment of one process. Every field is read as `CONTROL_PLANE_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    # Where it listens
    host: str = "127.0.0.1"
    """Address to bind to. Loopback by default: being reachable from elsewhere must be a decision."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8090
    """TCP port of the platform API, health and metrics; next to the router's 8080."""

    # What it stands on
    database_url: SecretStr
    """PostgreSQL URL of the role `control_plane`. Required; kept out of logs because it may hold a password."""
    owner_database_url: SecretStr = SecretStr("")
    """PostgreSQL URL of the owner of the tables, for `migrate` only. Empty = the same as `database_url`."""

    # Whom it trusts, and who trusts it
    signing_key_file: Path = Path("/run/secrets/control-plane/signing_key.pem")
    """PEM file of the Ed25519 key that signs directory, configurations and machine tokens; `migrate` needs none."""
    signing_key_id: Annotated[str, Field(min_length=1, max_length=64)] = "cp-1"
    """Key id that goes with every signature; cells and routers find the public key by it."""
    issuer_jwks_file: Path = Path("/run/secrets/control-plane/issuer_jwks.json")
    """JWKS file of the issuer of vendors' and operators' tokens; looked at again whenever it is replaced."""
    audience: Annotated[str, Field(min_length=1)] = AUDIENCE
    """Audience (`aud`) that tokens must name; the default is the one that the platform issues for."""

    # The fleet
    first_cells: Annotated[int, Field(ge=1, le=SLOTS)] = 3
    """How many cells an empty fleet waits for before they share all slots; three lose a third when one fails."""

    # How units are moved: `mover` only
    mover_port: Annotated[int, Field(ge=0, le=65_535)] = 8091
    """TCP port of the mover's health and metrics."""
    moves_per_cell_max: Annotated[int, Field(ge=1, le=16)] = MOVES_PER_CELL_MAX
    """How many moves may touch one cell at the same time; each costs its wallets a little of its CPU."""
    move_rows_per_page: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    """Rows that one call carries from cell to cell; fewer make smaller waves, more make less overhead."""
    move_copy_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the time that a first copy may keep its two cells busy; it rests for the remainder after every page."""
    move_converged_ms: Annotated[float, Field(gt=0, le=1_000)] = 100.0
    """A pass of the copy that takes no longer may be followed by a fence; what is left to carry then is about that."""
    move_passes_max: Annotated[int, Field(ge=1, le=100)] = 5
    """Passes after the first copy that hope for that; then half a second is enough, for which fifteen more may try."""
    move_retention_h: Annotated[float, Field(ge=0, le=8_760)] = 72.0
    """Hours for which a cell keeps the rows of what it has given away, for the case that it comes back."""
    moves_need_standbys: bool = False
    """Whether only cells whose commits wait for a standby may give or take units. Off: one machine has none."""
    crash_file: Path | None = None
    """File that tells the process where to kill itself, or to wait. For tests alone; unset = nobody looks."""

    # How releases reach the cells: `serve` only
    releases_by: Literal["nobody", "local", "kubernetes"] = "nobody"
    """What carries the processes of cells. By default it is not known, and no rollout is possible."""
    local_socket: Path | None = None
    """Unix socket of the `cellwallet up` that runs the cells; needed where they are carried by `local`."""
    kubernetes_config: Path | None = None
    """Kubeconfig of the cluster that runs the cells; unset = that of the service account of the pod."""
    cell_namespace: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9-]*(\{cell\})?[a-z0-9-]*$")] = (
        "{cell}"
    )
    """Namespace of a cell on Kubernetes; `{cell}` stands for its id. One each, as the charts have it."""
    prometheus_url: str = ""
    """Prometheus that rollouts are judged by. Empty = the control plane looks at the metrics of cells itself."""
    release_lease_s: Annotated[float, Field(ge=1, le=300)] = 30.0
    """Seconds after which another process goes on with what one that died has begun; thrice what one call may take."""

    # Where vendors may have their events sent
    webhooks_may_be_local: bool = False
    """Whether webhooks may lead to private addresses, and by http to this machine. Off: vendors name their targets."""

    # What it tells
    log_level: LogLevel = "info"
    """Least level that is logged; `info` includes one line per request."""
    otlp_endpoint: str = ""
    """OTLP/HTTP endpoint of traces, such as `http://collector:4318`. Empty = no tracing and no cost."""

    @model_validator(mode="after")
    def _must_find_what_carries_cells(self) -> Self:
        if self.releases_by == "local" and self.local_socket is None:
            raise ValueError("CONTROL_PLANE_LOCAL_SOCKET must be set where CONTROL_PLANE_RELEASES_BY is local")
        return self

    @property
    def migration_url(self) -> str:
        return self.owner_database_url.get_secret_value() or self.database_url.get_secret_value()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del env_settings, dotenv_settings, file_secret_settings  # one source: the environment, read strictly
        return init_settings, _StrictEnvironment(settings_cls)


class _StrictEnvironment(EnvSettingsSource):
    """The environment, including the variables that carry our prefix and are no field: `extra` then refuses them."""

    def __call__(self) -> dict[str, Any]:
        known = super().__call__()
        prefix = PREFIX.lower()
        given = {name.lower()[len(prefix) :] for name in self.env_vars if name.lower().startswith(prefix)}
        return known | dict.fromkeys(sorted(given - self.settings_cls.model_fields.keys()), "")

"""Everything that can be set from outside for one process of a cell, and nothing that cannot.

Read once, in `__main__.py`, from environment variables with the prefix `CELL_`; passed on by constructor. A variable
with the prefix that is no field here is refused: a misspelt limit must not silently become its default.
What belongs to the whole cell and may change while it runs (limits of vendors, capacity, keys) is no setting: it
comes with the signed configuration.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from contract.headers import DEADLINE_DEFAULT_MS, DEADLINE_MAX_MS
from contract.ids import CELL_PATTERN
from contract.scopes import AUDIENCE

PREFIX = "CELL_"

Port = Annotated[int, Field(ge=0, le=65_535)]
Zone = Annotated[str, Field(min_length=1, max_length=64)]


class Settings(BaseSettings):
    """The environment of one process of a cell. Every field is read as `CELL_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    # Who this process is
    id: Annotated[str, Field(pattern=CELL_PATTERN)]
    """Name of the cell. Required: a process that guesses its cell would serve another's money."""
    zone: Zone
    """Availability zone of this process. Required: routers prefer processes of their own zone."""
    home_zone: Zone
    """Zone where the cell's primary database normally runs. Required: evacuation of a zone starts from it."""

    # Where it listens
    host: str = "127.0.0.1"
    """Address to bind both ports to. Loopback by default: being reachable from elsewhere must be a decision."""
    port: Port
    """TCP port of the vendor API. Required: the directory tells it to routers."""
    admin_port: Port
    """TCP port of the admin API and of metrics. Required, and apart, so that vendors can never reach it."""
    api_url: str = ""
    """URL under which routers reach the vendor API. Empty = `http://{host}:{port}`; set it where they differ."""
    admin_url: str = ""
    """URL under which the control plane reaches the admin API. Empty = `http://{host}:{admin_port}`."""
    body_timeout_ms: Annotated[int, Field(ge=1)] = 10_000
    """Milliseconds a client may take to send its body; ten seconds suit slow links and bound slow attacks."""
    shutdown_grace_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds that accepted requests get to finish at a stop; below the 30 s that Kubernetes grants a pod."""

    # What it stands on
    database_url: SecretStr
    """PostgreSQL URL of the role `cell_app`. Required; kept out of logs because it may hold a password."""
    owner_database_url: SecretStr = SecretStr("")
    """PostgreSQL URL of the role `cell_owner`, for `migrate` only. Empty by default: serving must not own tables."""
    state_dir: Path
    """Directory of this process alone, for `configuration.json`. Required: it is what a restart serves from."""

    # Who the cell is to others, and where they are
    signing_key_file: Path
    """File with the cell's Ed25519 key (PEM, PKCS8), the same for all its processes; signs tokens and checkpoints."""
    router_url: str = ""
    """URL of the router, where other cells' wallets are reached. Empty = no other cell: transfers stay in this one."""
    saga_period_ms: Annotated[int, Field(ge=50, le=60_000)] = 500
    """How often unfinished transfers and groups are looked at (ms). Twice a second: an idle look is one index probe."""
    crash_file: Path | None = None
    """For tests: a file that may name a point where this process dies or waits (cell/crash_points.py). None = never."""

    # Whom it trusts
    control_plane_url: str = ""
    """URL of the control plane. Empty = none: the cell serves from the configuration on its disk."""
    join_token: SecretStr = SecretStr("")
    """Token with `cell:join` for registering and for fetching the configuration; needed with `control_plane_url`."""
    control_plane_jwks_file: Path
    """File with the control plane's public keys (JWKS). Required: it is the anchor of all trust in this process."""
    audience: Annotated[str, Field(min_length=1)] = AUDIENCE
    """Audience (`aud`) that tokens must name; the default is the one that the platform issues for."""

    # The write path
    lanes: Annotated[int, Field(ge=1, le=64)] = 2
    """Batches in flight per process. Two overlap deciding with committing; more lanes make smaller batches."""
    batch_max: Annotated[int, Field(ge=1, le=10_000)] = 400
    """Commands per batch at most. At 400 the two round trips are amortised, and a batch stays near 10 ms."""
    queue_max: Annotated[int, Field(ge=1)] = 5_000
    """Commands waiting per lane at most, then 429: about half a second of work, less than any sane deadline."""
    opening_batch_max: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Openings per batch at most. Smaller than `batch_max`, because an opening holds locks of whole units."""
    opening_queue_max: Annotated[int, Field(ge=1)] = 2_000
    """Openings waiting at most, then 429; a bulkhead of its own, so that a flood of openings cannot slow money."""
    lock_statement_timeout_ms: Annotated[int, Field(ge=1)] = 2_000
    """Milliseconds for the statement that locks and loads a batch; longer than a sane wait, below the deadline."""
    idle_in_transaction_timeout_ms: Annotated[int, Field(ge=1)] = 1_000
    """Milliseconds until the database ends a transaction whose process stopped, and with it its locks."""
    tcp_user_timeout_ms: Annotated[int, Field(ge=0)] = 5_000
    """Milliseconds until unacknowledged bytes mean a dead connection; 5 s rides out a lost packet or two."""
    connect_timeout_s: Annotated[int, Field(ge=1)] = 3
    """Seconds to connect to the database; libpq counts in whole seconds and treats 1 as 2."""
    deadline_default_ms: Annotated[int, Field(ge=1, le=DEADLINE_MAX_MS)] = DEADLINE_DEFAULT_MS
    """Milliseconds for a request without `X-Deadline-Ms`; the contract promises 5,000."""

    # The read path
    read_pool_max: Annotated[int, Field(ge=1)] = 8
    """Connections for reads. Apart from the lanes, so that reads never wait for writes; 8 saturate two cores."""
    read_statement_timeout_ms: Annotated[int, Field(ge=1)] = 3_000
    """Milliseconds for one read statement; below the default deadline, so that the caller still gets an answer."""
    read_wait_max_ms: Annotated[int, Field(ge=1)] = 1_000
    """Milliseconds to wait for a free read connection, then 503: waiting longer only builds a pile."""

    # What runs in the background
    partitions_ahead_months: Annotated[int, Field(ge=1, le=24)] = 3
    """Months of entries' partitions that exist ahead; three leave a quarter to notice that making them fails."""
    partitions_period_s: Annotated[float, Field(gt=0)] = 3_600.0
    """Seconds between looks at the partitions; hourly is plenty for a calendar."""
    checkpoint_period_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds between checkpoints: how long a change of the past can go unproven. Each costs 72 bytes per wallet."""
    checkpoints_kept: Annotated[int, Field(ge=1, le=1_000)] = 12
    """Checkpoints whose trees are kept for proofs: an hour's. The signed checkpoints themselves are kept for ever."""
    audit_period_s: Annotated[float, Field(gt=0)] = 60.0
    """Seconds that the background audit rests when nothing more is new: how long a broken log can go unnoticed."""
    audit_entries_max: Annotated[int, Field(ge=1, le=1_000_000)] = 5_000
    """Entries of whole logs that the background audit reads in a period: a tenth of a second's work, in short rounds.
    While more is new than rounds have read, they go on; pauses between them leave nineteen twentieths of the process to
    others."""
    expiry_period_s: Annotated[float, Field(gt=0)] = 1.0
    """Seconds between looks for holds past their time: how long money stays set aside for nothing, at the price of one
    look into an index. No command finds such a hold open."""
    configuration_wait_s: Annotated[float, Field(gt=0, le=60)] = 20.0
    """Seconds that a long poll for the configuration may hang; below the idle time-outs of usual proxies."""
    registration_period_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds between registrations; five fit into the control plane's lease of 10 s."""
    control_plane_timeout_s: Annotated[float, Field(gt=0)] = 3.0
    """Seconds for one call to the control plane (a long poll gets its wait on top)."""

    # What becomes of events
    relay_period_ms: Annotated[int, Field(ge=1)] = 200
    """Milliseconds between looks for new events; what a webhook is late by at most when nothing is in the way."""
    broker_url: str = ""
    """URL of a NATS server with JetStream (`nats://...`) that gets every event of the cell. Empty = none."""
    webhook_timeout_ms: Annotated[int, Field(ge=1)] = 10_000
    """Milliseconds for one delivery from connecting to the status; a receiver stores and answers, and works later."""
    webhook_attempts_max: Annotated[int, Field(ge=1)] = 16
    """Attempts until an event is a dead letter; with the pauses below some five hours of a receiver's outage."""
    webhook_retry_first_ms: Annotated[int, Field(ge=1)] = 1_000
    """Milliseconds before the second attempt; each later pause is twice as long."""
    webhook_retry_longest_s: Annotated[float, Field(gt=0)] = 3_600.0
    """Seconds of the longest pause between attempts."""
    webhook_concurrency: Annotated[int, Field(ge=1, le=100)] = 64
    """Deliveries under way in the whole cell at most: each is a connection."""
    webhook_concurrency_each: Annotated[int, Field(ge=1, le=100)] = 8
    """Deliveries under way to one webhook at most, so that a slow one leaves room to the others."""
    webhooks_may_be_local: bool = False
    """Whether webhooks may lead to private addresses, and by http to this machine. Off: vendors name their targets."""
    dead_letters_kept_days: Annotated[int, Field(ge=1)] = 30
    """Days that a dead letter can be sent again; after a month the vendor has read its entries in other ways."""

    # What it tells
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged; `info` includes one line per request."""
    access_log_max: Annotated[int, Field(ge=1)] = 50_000
    """Access lines waiting to be written at most, then they are dropped and counted: two seconds of full load."""
    access_log_period_ms: Annotated[int, Field(ge=1)] = 100
    """Milliseconds between writes of the access log; short enough to watch, long enough to write in bulk."""
    otlp_endpoint: str = ""
    """OTLP/HTTP endpoint of traces, such as `http://collector:4318`. Empty = no tracing and no cost."""

    @model_validator(mode="after")
    def _must_be_able_to_join(self) -> "Settings":
        if self.control_plane_url and not self.join_token.get_secret_value():
            raise ValueError("CELL_JOIN_TOKEN must be set where CELL_CONTROL_PLANE_URL is")
        return self

    @property
    def advertised_api_url(self) -> str:
        return self.api_url or f"http://{self.host}:{self.port}"

    @property
    def advertised_admin_url(self) -> str:
        return self.admin_url or f"http://{self.host}:{self.admin_port}"

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

"""Everything that can be set from outside for one router, and nothing that cannot.

Read once, in `__main__.py`, from environment variables with the prefix `ROUTER_`; passed on by constructor. A variable
with the prefix that is no field here is refused: a misspelt limit must not silently become its default.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from router.routing.health import IN_FLIGHT_MAX

PREFIX = "ROUTER_"

Port = Annotated[int, Field(ge=0, le=65_535)]


class Settings(BaseSettings):
    """The environment of one router. Every field is read as `ROUTER_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    # Who this process is
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Name of this router. Required: the control plane waits for each live router by its name before a move."""
    zone: Annotated[str, Field(min_length=1, max_length=64)]
    """Availability zone of this process. Required: API processes of the same zone are preferred."""

    # Where it listens
    host: str = "127.0.0.1"
    """Address to bind both ports to. Loopback by default: being reachable from elsewhere must be a decision."""
    port: Port
    """TCP port of the vendor API. Required: vendors and load balancers know it."""
    admin_port: Port
    """TCP port of metrics and signs of life. Required, and apart, so that vendors can never reach it."""
    haproxy_port: Port | None = None
    """TCP port of the vendor API where a HAProxy serves it. This process then is its agent and slow path: it keeps its
    files in `state_dir`/haproxy, and listens on `port` for it alone, on the loopback. None = this process serves."""
    shutdown_grace_s: Annotated[float, Field(ge=0)] = 20.0
    """Seconds that accepted requests get to finish at a stop; below the 30 s that Kubernetes grants a pod."""

    # Where the map comes from
    control_plane_url: str = ""
    """URL of the control plane. Empty = none: the router serves from the map on its disk."""
    control_plane_token: SecretStr = SecretStr("")
    """Token with `fleet:read` for fetching the directory; needed with `control_plane_url`."""
    control_plane_jwks_file: Path
    """File with the control plane's public keys (JWKS). Required: only documents signed by them are believed."""
    state_dir: Path
    """Directory of this process alone, for the last good maps. Required: it is what a restart serves from."""
    directory_wait_s: Annotated[int, Field(ge=1, le=8)] = 4
    """Seconds that a long poll may hang. Each poll renews the acknowledgement, whose lease is 10 s."""

    # What it bears
    in_flight_max: Annotated[int, Field(ge=1)] = IN_FLIGHT_MAX
    """Requests under way or waiting per cell, then 503: above a healthy cell's queue, 64 MiB of bodies at most."""

    # What it tells
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged; `info` includes one line per request."""
    otlp_endpoint: str = ""
    """OTLP/HTTP endpoint of traces, such as `http://collector:4318`. Empty = no tracing and no cost."""

    @model_validator(mode="after")
    def _must_be_able_to_fetch(self) -> "Settings":
        if self.control_plane_url and not self.control_plane_token.get_secret_value():
            raise ValueError("ROUTER_CONTROL_PLANE_TOKEN must be set where ROUTER_CONTROL_PLANE_URL is")
        return self

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

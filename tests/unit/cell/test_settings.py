"""The environment of a cell: what is required, what is refused, what must never be shown."""

import pytest
from pydantic import SecretStr, ValidationError

from cell.settings import Settings

REQUIRED = {
    "CELL_ID": "cell-a",
    "CELL_ZONE": "zone-1",
    "CELL_HOME_ZONE": "zone-2",
    "CELL_PORT": "8081",
    "CELL_ADMIN_PORT": "9081",
    "CELL_DATABASE_URL": "postgresql://cell_app:hunter2@db/cell",
    "CELL_STATE_DIR": "/var/lib/cell",
    "CELL_CONTROL_PLANE_JWKS_FILE": "/etc/cell/jwks.json",
    "CELL_SIGNING_KEY_FILE": "/etc/cell/key.pem",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in REQUIRED.items():
        monkeypatch.setenv(name, text)


def test_what_is_required_suffices() -> None:
    settings = Settings()
    assert (settings.id, settings.zone, settings.home_zone) == ("cell-a", "zone-1", "zone-2")
    assert settings.advertised_api_url == "http://127.0.0.1:8081"
    assert settings.advertised_admin_url == "http://127.0.0.1:9081"
    assert settings.partitions_ahead_months == 3


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_variable_has_no_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("CELL_ID", "Cell A"),
        ("CELL_PORT", "65536"),
        ("CELL_LANES", "0"),
        ("CELL_DEADLINE_DEFAULT_MS", "30001"),
        ("CELL_LOG_LEVEL", "chatty"),
        ("CELL_CONFIGURATION_WAIT_S", "0"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize("name", ["CELL_QUEUE_MAXIMUM", "cell_lane"])
def test_a_misspelt_variable_is_refused_without_its_value(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "s3cret")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert name.lower().removeprefix("cell_") in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_variables_of_others_are_none_of_its_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_ID", "router-1")
    monkeypatch.setenv("CELLAR", "wine")
    Settings()


def test_a_control_plane_needs_a_join_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_CONTROL_PLANE_URL", "http://127.0.0.1:7000")
    with pytest.raises(ValidationError, match="CELL_JOIN_TOKEN") as refused:
        Settings()
    assert "hunter2" not in str(refused.value)
    monkeypatch.setenv("CELL_JOIN_TOKEN", "a.b.c")
    assert Settings().join_token == SecretStr("a.b.c")


def test_advertised_urls_may_differ_from_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELL_API_URL", "http://10.0.0.7:80")
    assert Settings().advertised_api_url == "http://10.0.0.7:80"


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Settings())
    assert "hunter2" not in str(Settings().model_dump_json())


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().lanes = 3  # type: ignore[misc]


def test_every_field_is_documented() -> None:
    """The docstring becomes the description, and the description the generated reference."""
    undocumented = [name for name, field in Settings.model_fields.items() if not field.description]
    assert undocumented == []

"""The environment of a router: what is required, what is refused, what must never be shown."""

import pytest
from pydantic import ValidationError

from router.settings import Settings

REQUIRED = {
    "ROUTER_ID": "router-1",
    "ROUTER_ZONE": "zone-1",
    "ROUTER_PORT": "8080",
    "ROUTER_ADMIN_PORT": "9080",
    "ROUTER_CONTROL_PLANE_JWKS_FILE": "/etc/router/jwks.json",
    "ROUTER_STATE_DIR": "/var/lib/router",
}


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in REQUIRED.items():
        monkeypatch.setenv(name, text)


def test_what_is_required_suffices() -> None:
    settings = Settings()
    assert (settings.id, settings.zone, settings.port, settings.control_plane_url) == ("router-1", "zone-1", 8080, "")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_variable_has_no_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ROUTER_ID", "a b"),
        ("ROUTER_PORT", "65536"),
        ("ROUTER_DIRECTORY_WAIT_S", "9"),
        ("ROUTER_IN_FLIGHT_MAX", "0"),
        ("ROUTER_LOG_LEVEL", "chatty"),
        ("ROUTER_IN_FLIGHT", "5"),
        ("ROUTER_CONTROL_PLANE_URL", "http://control-plane"),
    ],
)
def test_a_value_or_name_out_of_bounds_is_refused(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError):
        Settings()


def test_the_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTER_CONTROL_PLANE_URL", "http://control-plane")
    monkeypatch.setenv("ROUTER_CONTROL_PLANE_TOKEN", "s3cret")
    assert "s3cret" not in repr(Settings())


def test_every_setting_says_what_it_means() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name

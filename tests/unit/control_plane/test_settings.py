"""The environment is read strictly, and every field says what it means."""

import pytest
from pydantic import ValidationError

from control_plane.settings import PREFIX, Settings

URL = "postgresql://control_plane@/control_plane?host=/run/postgres"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CONTROL_PLANE_DATABASE_URL", URL)
    return monkeypatch


def test_the_database_is_all_that_must_be_said() -> None:
    settings = Settings()
    assert settings.database_url.get_secret_value() == URL
    assert settings.migration_url == URL
    assert settings.first_cells == 3


def test_the_owner_of_the_tables_may_be_another_role(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CONTROL_PLANE_OWNER_DATABASE_URL", "postgresql://owner@/control_plane")
    assert Settings().migration_url == "postgresql://owner@/control_plane"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FRIST_CELLS", "3"),
        ("FIRST_CELLS", "0"),
        ("FIRST_CELLS", "many"),
        ("PORT", "65536"),
        ("LOG_LEVEL", "loud"),
        ("AUDIENCE", ""),
    ],
)
def test_what_is_wrong_is_refused(environment: pytest.MonkeyPatch, name: str, text: str) -> None:
    environment.setenv(PREFIX + name, text)
    with pytest.raises(ValidationError):
        Settings()


def test_no_password_reaches_a_message(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CONTROL_PLANE_DATABASE_URL", "postgresql://control_plane:hush@/control_plane")
    environment.setenv("CONTROL_PLANE_PORT", "none")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "hush" not in str(refused.value)
    environment.setenv("CONTROL_PLANE_PORT", "1")
    assert "hush" not in repr(Settings())


def test_every_field_says_what_it_means() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert silent == []

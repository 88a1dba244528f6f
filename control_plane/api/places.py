"""Places in lists that are ordered by instant and id, as cursors that fit into a URL."""

from datetime import UTC, datetime

CURSOR_PATTERN = r"^\d{1,20}~[0-9a-f-]{36}$"


def cursor_of(at: datetime, entry_id: str) -> str:
    return f"{round(at.timestamp() * 1_000_000)}~{entry_id}"


def place_of(cursor: str | None) -> tuple[datetime, str] | None:
    if cursor is None:
        return None
    instant, _, entry_id = cursor.partition("~")
    seconds, microseconds = divmod(int(instant[:18]), 1_000_000)
    return datetime.fromtimestamp(min(seconds, 253_402_300_799), UTC).replace(microsecond=microseconds), entry_id

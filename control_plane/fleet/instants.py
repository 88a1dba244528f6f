"""Instants as text: RFC 3339, UTC, microseconds."""

from datetime import UTC, datetime


def instant_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def unix_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)

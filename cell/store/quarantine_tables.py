"""The tables by which a restored database is recognised and closed, as SQLAlchemy Core tables beside `tables.py`."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from cell.store.tables import metadata

database_eras = Table(
    "database_eras",
    metadata,
    Column("system_identifier", Text, primary_key=True),
    Column("timeline", BigInteger, primary_key=True, autoincrement=False),
    Column("cause", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("cause IN ('first', 'promotion', 'opened')", name="database_eras_have_a_cause"),
)
"""Each life of the physical database that may serve: a restore begins one that is not here."""

database_ticks = Table(
    "database_ticks",
    metadata,
    Column("is_the_row", Boolean, primary_key=True, server_default=text("true")),
    Column("ticks", BigInteger, nullable=False),
    CheckConstraint("is_the_row", name="database_ticks_is_one_row"),
)
"""One row, a count that only grows; processes remember it outside of the database."""

quarantines = Table(
    "quarantines",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("cause", Text, nullable=False),
    Column("detail", Text, nullable=False, server_default=text("''")),
    Column("began_at", DateTime(timezone=True), nullable=False, server_default=text("clock_timestamp()")),
    Column("adjudicated_at", DateTime(timezone=True)),
    Column("adjudication", JSONB),
    Column("opened_at", DateTime(timezone=True)),
    Column("opened_by", Text),
    Column("has_found_units", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint(
        "cause IN ('restored', 'timeline_must_be_recorded', 'history_must_not_go_back', 'ordered')",
        name="quarantines_have_a_cause",
    ),
    Index(
        "quarantines_open",
        "opened_at",
        unique=True,
        postgresql_where=text("opened_at IS NULL"),
        postgresql_nulls_not_distinct=True,
    ),
)
"""The cell is in quarantine while one of them was not opened."""

"""The schema of the control plane's database, in one file to read; rollouts and evacuations are in release_tables.py.

Migrations (store/migrations) must give exactly this; a test compares the two. Rules that PostgreSQL can repeat are
repeated here: epochs never fall, an owner changes only with a higher epoch, versions only grow.
"""

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from contract.directory import CellState
from contract.money import AMOUNT_MAX
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from control_plane.moves.model import MOVE_PURPOSES, UNIT_RESULTS
from control_plane.moves.states import MOVE_STATES, STOP_KINDS
from control_plane.store.catalogue import metadata as metadata  # noqa: PLC0414 - everybody finds it here
from control_plane.store.catalogue import one_of
from control_plane.store.release_tables import RELEASE_GRANTS

CELL_STATES: tuple[CellState, ...] = ("registered", "ready", "active", "draining", "empty", "retired")
_STATE_LIST = ", ".join(f"'{state}'" for state in CELL_STATES)


fleet = Table(
    "fleet",
    metadata,
    Column("id", SmallInteger, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("units_assigned_at", DateTime(timezone=True)),
    comment="One row: its lock serialises publications and the first assignment.",
)

cells = Table(
    "cells",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, CheckConstraint(f"state IN ({_STATE_LIST})", name="state"), nullable=False),
    Column("home_zone", Text, nullable=False),
    Column("capacity_per_s", Double, CheckConstraint("capacity_per_s > 0", name="capacity")),
    Column("registered_at", DateTime(timezone=True), nullable=False),
    Column("state_changed_at", DateTime(timezone=True), nullable=False),
    Column("public_key", JSONB(none_as_null=True), comment="JWK; what the cell signs with"),
    Column("filling_since", DateTime(timezone=True), comment="Activated, and its share of units has not come yet"),
)

instances = Table(
    "instances",
    metadata,
    Column("cell", Text, ForeignKey("cells.id"), primary_key=True),
    Column("url", Text, primary_key=True),
    Column("zone", Text, nullable=False),
    Column("admin_url", Text, nullable=False),
    Column("schema_revision", Text, nullable=False),
    Column("software_version", Text, nullable=False),
    Column("first_seen_at", DateTime(timezone=True), nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
    comment="API processes of cells, as they registered.",
)

certificates = Table(
    "certificates",
    metadata,
    Column("cell", Text, ForeignKey("cells.id"), primary_key=True),
    Column("uploaded_at", DateTime(timezone=True), nullable=False),
    Column("document", JSONB, nullable=False),
    comment="What the capacity in force of a cell rests on; none when it was set by hand.",
)

units = Table(
    "units",
    metadata,
    Column("unit", Integer, primary_key=True, autoincrement=False),
    Column("cell", Text, ForeignKey("cells.id"), nullable=False),
    Column("epoch", BigInteger, CheckConstraint("epoch >= 1", name="epoch"), nullable=False),
    Column("is_moving", Boolean, nullable=False, server_default="false"),
    CheckConstraint(f"unit BETWEEN 0 AND {SLOTS - 1} OR unit >= {ISOLATED_UNIT_FIRST}", name="number"),
    Index("units_cell_idx", "cell"),
    comment="Which cell each unit is assigned to: what the directory publishes.",
)

isolated_wallets = Table(
    "isolated_wallets",
    metadata,
    Column("wallet_id", Text, primary_key=True),
    Column("unit", Integer, ForeignKey("units.unit"), nullable=False, unique=True),
    CheckConstraint(f"unit >= {ISOLATED_UNIT_FIRST}", name="number"),
)

directories = Table(
    "directories",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("document", Text, nullable=False, comment="Signed, as sent"),
)

configurations = Table(
    "configurations",
    metadata,
    Column("cell", Text, ForeignKey("cells.id"), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("document", Text, nullable=False, comment="Signed, as sent"),
)

vendors = Table(
    "vendors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("policy", JSONB, nullable=False),
)

limits = Table(
    "limits",
    metadata,
    Column("wallet_id", Text, primary_key=True),
    Column("vendor_id", Text, primary_key=True, comment="Empty = over all vendors"),
    Column("amount_max", BigInteger, CheckConstraint(f"amount_max BETWEEN 1 AND {AMOUNT_MAX}", name="amount_max")),
    Column("day_max", BigInteger, CheckConstraint(f"day_max BETWEEN 1 AND {AMOUNT_MAX}", name="day_max")),
    CheckConstraint("amount_max IS NOT NULL OR day_max IS NOT NULL", name="say_something"),
    comment="Of wallets, and of vendors on wallets; those of a vendor alone are in its policy.",
)

routers = Table(
    "routers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("applied", BigInteger, nullable=False),
    Column("seen_at", DateTime(timezone=True), nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor", Text, nullable=False, comment="Subject of the token"),
    Column(
        "subject", Text, nullable=False, comment="vendor:, cell:, wallet:, move:, rollout: or evacuation: and its id"
    ),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Column("request_id", Text, nullable=False),
    Index("changes_subject_id_idx", "subject", "id"),
    comment="Who changed what and when; only ever appended to.",
)

rebalances = Table(
    "rebalances",
    metadata,
    Column("id", Text, primary_key=True),
    Column("ordered_by", Text, nullable=False),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Index("rebalances_open_idx", text("(true)"), unique=True, postgresql_where=text("ended_at IS NULL")),
    comment="Orders to relieve cells that carry too much; one is open at a time.",
)

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("vendor_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("kinds", JSONB(none_as_null=True)),
    Column(
        "secrets",
        JSONB,
        nullable=False,
        comment="The present one first, then those that sign until their instant",
    ),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("secret_changed_at", DateTime(timezone=True), nullable=False),
    Index("webhooks_vendor_id_idx", "vendor_id"),
    comment="Where vendors want their events.",
)

isolations = Table(
    "isolations",
    metadata,
    Column("unit", Integer, primary_key=True, autoincrement=False),
    Column("wallet_id", Text, nullable=False),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    Column("isolated_at", DateTime(timezone=True)),
    Column("rejoin_ordered_at", DateTime(timezone=True)),
    Column("ended_at", DateTime(timezone=True), comment="The wallet is back in its slot, or never left it"),
    CheckConstraint(f"unit >= {ISOLATED_UNIT_FIRST}", name="number"),
    Index("isolations_open_idx", "wallet_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    comment="Every isolated unit that was ever given out: its number is never used again.",
)

moves = Table(
    "moves",
    metadata,
    Column("id", Text, primary_key=True),
    Column("from_cell", Text, ForeignKey("cells.id"), nullable=False),
    Column("to_cell", Text, ForeignKey("cells.id"), nullable=False),
    Column("state", Text, one_of("state", MOVE_STATES), nullable=False),
    Column("purpose", Text, one_of("purpose", MOVE_PURPOSES), nullable=False),
    Column("wallet_id", Text),
    Column("portion", Integer, nullable=False, server_default="0"),
    Column("announced_version", BigInteger),
    Column("stop", Text, one_of("stop", STOP_KINDS)),
    Column("reason", Text),
    Column("detail", Text),
    Column("difference", JSONB(none_as_null=True)),
    Column("copied_rows", BigInteger, nullable=False, server_default=text("0")),
    Column("copied_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("copy_ms", Double, nullable=False, server_default=text("0")),
    Column("ordered_by", Text, nullable=False),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    CheckConstraint("from_cell <> to_cell", name="two_cells"),
    Index("moves_ordered_at_id_idx", "ordered_at", "id"),
    Index("moves_open_idx", "ordered_at", "id", postgresql_where=text("ended_at IS NULL")),
    comment="The move log. What cells have committed wins over it; it may lag behind them, never lead them.",
)

move_units = Table(
    "move_units",
    metadata,
    Column("move_id", Text, ForeignKey("moves.id"), primary_key=True),
    Column("unit", Integer, ForeignKey("units.unit"), primary_key=True),
    Column("from_epoch", BigInteger, nullable=False),
    Column("result", Text, one_of("result", UNIT_RESULTS), nullable=False),
    Column("portion", Integer),
    Column("wallets", BigInteger),
    Column("entries", BigInteger),
    Column("fence_no", BigInteger),
    Column("digest", Text),
    Column("grant", JSONB(none_as_null=True), comment="A copy of the source's word"),
    Column("granted_at", DateTime(timezone=True)),
    Column("pause_ms", Double),
    Column("tombstoned_at", DateTime(timezone=True)),
    Column("cleaned_at", DateTime(timezone=True)),
    Index("move_units_open_idx", "unit", unique=True, postgresql_where=text("result IN ('waiting', 'in_hand')")),
    Index("move_units_unclean_idx", "tombstoned_at", postgresql_where=text("cleaned_at IS NULL")),
)

move_steps = Table(
    "move_steps",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("move_id", Text, ForeignKey("moves.id"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("portion", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("facts", JSONB(none_as_null=True)),
    Index("move_steps_move_id_id_idx", "move_id", "id"),
    comment="What the mover did and how long it took; only ever appended to.",
)

APP_GRANTS = {
    "fleet": "SELECT, UPDATE",
    "cells": "SELECT, INSERT, UPDATE",
    "certificates": "SELECT, INSERT, UPDATE, DELETE",
    "instances": "SELECT, INSERT, UPDATE, DELETE",
    "units": "SELECT, INSERT, UPDATE",
    "isolated_wallets": "SELECT, INSERT, DELETE",
    "directories": "SELECT, INSERT, DELETE",
    "configurations": "SELECT, INSERT, UPDATE",
    "vendors": "SELECT, INSERT, UPDATE",
    "limits": "SELECT, INSERT, UPDATE, DELETE",
    "routers": "SELECT, INSERT, UPDATE, DELETE",
    "changes": "SELECT, INSERT",
    "rebalances": "SELECT, INSERT, UPDATE",
    "webhooks": "SELECT, INSERT, UPDATE, DELETE",
    "isolations": "SELECT, INSERT, UPDATE",
    "moves": "SELECT, INSERT, UPDATE",
    "move_units": "SELECT, INSERT, UPDATE",
    "move_steps": "SELECT, INSERT",
    **RELEASE_GRANTS,
    "alembic_version": "SELECT",
}
"""What the serving role may do, where it is not the owner. History can be read and appended to, never rewritten."""

EPOCH_RULE = """
CREATE FUNCTION units_epoch_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.unit <> OLD.unit THEN
        RAISE check_violation USING MESSAGE = 'unit ' || OLD.unit || ' must keep its number';
    END IF;
    IF NEW.epoch < OLD.epoch THEN
        RAISE check_violation USING MESSAGE = 'epoch of unit ' || OLD.unit || ' must not decrease';
    END IF;
    IF NEW.cell <> OLD.cell AND NEW.epoch = OLD.epoch THEN
        RAISE check_violation USING MESSAGE = 'epoch of unit ' || OLD.unit || ' must rise with its new owner';
    END IF;
    RETURN NEW;
END $$
"""
EPOCH_TRIGGER = """
CREATE TRIGGER units_epoch_rule BEFORE UPDATE ON units FOR EACH ROW EXECUTE FUNCTION units_epoch_rule()
"""
VERSION_RULE = """
CREATE FUNCTION directories_version_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <= (SELECT max(version) FROM directories) THEN
        RAISE check_violation USING MESSAGE = 'version ' || NEW.version || ' must be above every earlier one';
    END IF;
    RETURN NEW;
END $$
"""
VERSION_TRIGGER = """
CREATE TRIGGER directories_version_rule BEFORE INSERT ON directories
    FOR EACH ROW EXECUTE FUNCTION directories_version_rule()
"""
CONFIGURATION_RULE = """
CREATE FUNCTION configurations_version_rule() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.version <= OLD.version THEN
        RAISE check_violation USING MESSAGE = 'version of the configuration of ' || OLD.cell || ' must grow';
    END IF;
    RETURN NEW;
END $$
"""
CONFIGURATION_TRIGGER = """
CREATE TRIGGER configurations_version_rule BEFORE UPDATE ON configurations
    FOR EACH ROW EXECUTE FUNCTION configurations_version_rule()
"""
FIRST_ROW = "INSERT INTO fleet (id) VALUES (1)"

for _statement in (
    EPOCH_RULE,
    EPOCH_TRIGGER,
    VERSION_RULE,
    VERSION_TRIGGER,
    CONFIGURATION_RULE,
    CONFIGURATION_TRIGGER,
    FIRST_ROW,
):
    event.listen(metadata, "after_create", DDL(_statement))  # type: ignore[no-untyped-call]

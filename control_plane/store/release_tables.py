"""Tables of rollouts, evacuations and the lease of whoever carries them out."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Double, ForeignKey, Identity, Index, Integer, Table, Text
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB

from control_plane.evacuations.model import EVACUATION_KINDS, PRIMARY_STATES
from control_plane.evacuations.states import EVACUATION_STATES
from control_plane.rollouts.model import DEPLOYMENT_STATES, VERDICTS
from control_plane.rollouts.states import ROLLOUT_STATES, ROLLOUT_STOPS
from control_plane.store.catalogue import metadata, one_of

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("fence", BigInteger, nullable=False, comment="Grows with every new holder; goes with whatever it changes"),
    Column("until", DateTime(timezone=True), nullable=False),
    comment="Who alone carries something out, until when.",
)

rollouts = Table(
    "rollouts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("release", JSONB, nullable=False),
    Column("policy", JSONB, nullable=False, comment="By what it is judged"),
    Column("waves", JSONB, nullable=False),
    Column("idle_cells", JSONB, nullable=False),
    Column("state", Text, one_of("state", ROLLOUT_STATES), nullable=False),
    Column("wave", Integer, nullable=False, server_default="0"),
    Column("waves_passed", Integer, nullable=False, server_default="0"),
    Column("is_paused", Boolean, nullable=False, server_default="false"),
    Column("stop", Text, one_of("stop", ROLLOUT_STOPS)),
    Column("reason", Text),
    Column("detail", Text),
    Column("waiting_reason", Text),
    Column("waiting_detail", Text),
    Column("ordered_by", Text, nullable=False),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Index("rollouts_ordered_at_id_idx", "ordered_at", "id"),
    Index("rollouts_open_idx", sql("(true)"), unique=True, postgresql_where=sql("ended_at IS NULL")),
    comment="Releases on their way through the cells; one at a time. What the cells run wins over what stands here.",
)

rollout_deployments = Table(
    "rollout_deployments",
    metadata,
    Column("rollout_id", Text, ForeignKey("rollouts.id"), primary_key=True),
    Column("cell", Text, ForeignKey("cells.id"), primary_key=True),
    Column("zone", Text, primary_key=True),
    Column("position", Integer, nullable=False),
    Column("wave", Integer, nullable=False),
    Column("previous_image", Text, nullable=False, comment="What is gone back to"),
    Column("state", Text, one_of("state", DEPLOYMENT_STATES), nullable=False),
    Column("patched_at", DateTime(timezone=True)),
    Column("settled_at", DateTime(timezone=True)),
    Column("turned_back_at", DateTime(timezone=True)),
    comment="The processes of one cell in one zone; written before the first of them is changed.",
)

rollout_windows = Table(
    "rollout_windows",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("rollout_id", Text, ForeignKey("rollouts.id"), nullable=False),
    Column("wave", Integer, nullable=False),
    Column("began_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True), nullable=False),
    Column("verdict", Text, one_of("verdict", VERDICTS), nullable=False),
    Column("is_grave", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
    Column("evidence", JSONB, nullable=False, comment="What was asked, the numbers, and what was found"),
    Index("rollout_windows_rollout_id_id_idx", "rollout_id", "id"),
    Index("rollout_windows_conclusive_idx", "rollout_id", "id", postgresql_where=sql("verdict <> 'inconclusive'")),
    comment="Judgements of bakes; only ever appended to.",
)

rollout_steps = Table(
    "rollout_steps",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("rollout_id", Text, ForeignKey("rollouts.id"), nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("wave", Integer, nullable=False),
    Column("step", Text, nullable=False),
    Column("duration_ms", Double, nullable=False),
    Column("facts", JSONB(none_as_null=True)),
    Index("rollout_steps_rollout_id_id_idx", "rollout_id", "id"),
    comment="What was done and how long it took; only ever appended to.",
)

evacuations = Table(
    "evacuations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, one_of("kind", EVACUATION_KINDS), nullable=False),
    Column("zone", Text, nullable=False),
    Column("state", Text, one_of("state", EVACUATION_STATES), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("announced_version", BigInteger),
    Column("is_end_ordered", Boolean, nullable=False, server_default="false"),
    Column("cordon", Text, nullable=False, server_default=""),
    Column("reason", Text),
    Column("detail", Text),
    Column("ordered_by", Text, nullable=False),
    Column("ordered_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Index("evacuations_ordered_at_id_idx", "ordered_at", "id"),
    Index("evacuations_open_idx", sql("(true)"), unique=True, postgresql_where=sql("ended_at IS NULL")),
    comment="Orders to leave a zone, or to bring primaries back to it; one at a time, each with an end.",
)

evacuation_primaries = Table(
    "evacuation_primaries",
    metadata,
    Column("evacuation_id", Text, ForeignKey("evacuations.id"), primary_key=True),
    Column("cell", Text, ForeignKey("cells.id"), primary_key=True),
    Column("state", Text, one_of("state", PRIMARY_STATES), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    comment="Databases that are to leave the zone, or to come back to it, and what became of it.",
)

RELEASE_GRANTS = {
    "leases": "SELECT, INSERT, UPDATE",
    "rollouts": "SELECT, INSERT, UPDATE",
    "rollout_deployments": "SELECT, INSERT, UPDATE",
    "rollout_windows": "SELECT, INSERT",
    "rollout_steps": "SELECT, INSERT",
    "evacuations": "SELECT, INSERT, UPDATE",
    "evacuation_primaries": "SELECT, INSERT, UPDATE",
}

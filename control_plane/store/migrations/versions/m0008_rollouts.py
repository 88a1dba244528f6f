"""Rollouts, evacuations, and the lease of whoever carries them out."""

from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE leases (
        name text NOT NULL,
        holder text NOT NULL,
        fence bigint NOT NULL,
        until timestamptz NOT NULL,
        CONSTRAINT leases_pkey PRIMARY KEY (name)
    )
    """,
    "COMMENT ON TABLE leases IS 'Who alone carries something out, until when.'",
    "COMMENT ON COLUMN leases.fence IS 'Grows with every new holder; goes with whatever it changes'",
    """
    CREATE TABLE rollouts (
        id text NOT NULL,
        release jsonb NOT NULL,
        policy jsonb NOT NULL,
        waves jsonb NOT NULL,
        idle_cells jsonb NOT NULL,
        state text NOT NULL CONSTRAINT rollouts_state CHECK (state IN ('planned', 'updating', 'baking', 'auditing',
            'passed', 'rolling_back', 'done', 'failed', 'cancelled', 'rolled_back')),
        wave integer NOT NULL DEFAULT 0,
        waves_passed integer NOT NULL DEFAULT 0,
        is_paused boolean NOT NULL DEFAULT false,
        stop text CONSTRAINT rollouts_stop CHECK (stop IN ('failed', 'cancelled', 'rolled_back')),
        reason text,
        detail text,
        waiting_reason text,
        waiting_detail text,
        ordered_by text NOT NULL,
        ordered_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        ended_at timestamptz,
        CONSTRAINT rollouts_pkey PRIMARY KEY (id)
    )
    """,
    """
    COMMENT ON TABLE rollouts IS
    'Releases on their way through the cells; one at a time. What the cells run wins over what stands here.'
    """,
    "COMMENT ON COLUMN rollouts.policy IS 'By what it is judged'",
    "CREATE INDEX rollouts_ordered_at_id_idx ON rollouts (ordered_at, id)",
    "CREATE UNIQUE INDEX rollouts_open_idx ON rollouts ((true)) WHERE ended_at IS NULL",
    """
    CREATE TABLE rollout_deployments (
        rollout_id text NOT NULL CONSTRAINT rollout_deployments_rollout_id_fkey REFERENCES rollouts (id),
        cell text NOT NULL CONSTRAINT rollout_deployments_cell_fkey REFERENCES cells (id),
        zone text NOT NULL,
        position integer NOT NULL,
        wave integer NOT NULL,
        previous_image text NOT NULL,
        state text NOT NULL CONSTRAINT rollout_deployments_state CHECK (state IN ('waiting', 'patched', 'settled',
            'restoring', 'restored', 'left')),
        patched_at timestamptz,
        settled_at timestamptz,
        turned_back_at timestamptz,
        CONSTRAINT rollout_deployments_pkey PRIMARY KEY (rollout_id, cell, zone)
    )
    """,
    """
    COMMENT ON TABLE rollout_deployments IS
    'The processes of one cell in one zone; written before the first of them is changed.'
    """,
    "COMMENT ON COLUMN rollout_deployments.previous_image IS 'What is gone back to'",
    """
    CREATE TABLE rollout_windows (
        id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        rollout_id text NOT NULL CONSTRAINT rollout_windows_rollout_id_fkey REFERENCES rollouts (id),
        wave integer NOT NULL,
        began_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL,
        verdict text NOT NULL CONSTRAINT rollout_windows_verdict CHECK (verdict IN ('good', 'bad', 'inconclusive')),
        is_grave boolean NOT NULL,
        detail text NOT NULL,
        evidence jsonb NOT NULL,
        CONSTRAINT rollout_windows_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE rollout_windows IS 'Judgements of bakes; only ever appended to.'",
    "COMMENT ON COLUMN rollout_windows.evidence IS 'What was asked, the numbers, and what was found'",
    "CREATE INDEX rollout_windows_rollout_id_id_idx ON rollout_windows (rollout_id, id)",
    """
    CREATE INDEX rollout_windows_conclusive_idx ON rollout_windows (rollout_id, id) WHERE verdict <> 'inconclusive'
    """,
    """
    CREATE TABLE rollout_steps (
        id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        rollout_id text NOT NULL CONSTRAINT rollout_steps_rollout_id_fkey REFERENCES rollouts (id),
        at timestamptz NOT NULL,
        wave integer NOT NULL,
        step text NOT NULL,
        duration_ms double precision NOT NULL,
        facts jsonb,
        CONSTRAINT rollout_steps_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE rollout_steps IS 'What was done and how long it took; only ever appended to.'",
    "CREATE INDEX rollout_steps_rollout_id_id_idx ON rollout_steps (rollout_id, id)",
    """
    CREATE TABLE evacuations (
        id text NOT NULL,
        kind text NOT NULL CONSTRAINT evacuations_kind CHECK (kind IN ('evacuation', 'fail_back')),
        zone text NOT NULL,
        state text NOT NULL CONSTRAINT evacuations_state CHECK (state IN ('ordered', 'switching', 'cordoning',
            'in_force', 'ending', 'ended')),
        expires_at timestamptz NOT NULL,
        announced_version bigint,
        is_end_ordered boolean NOT NULL DEFAULT false,
        cordon text NOT NULL DEFAULT '',
        reason text,
        detail text,
        ordered_by text NOT NULL,
        ordered_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        ended_at timestamptz,
        CONSTRAINT evacuations_pkey PRIMARY KEY (id)
    )
    """,
    """
    COMMENT ON TABLE evacuations IS
    'Orders to leave a zone, or to bring primaries back to it; one at a time, each with an end.'
    """,
    "CREATE INDEX evacuations_ordered_at_id_idx ON evacuations (ordered_at, id)",
    "CREATE UNIQUE INDEX evacuations_open_idx ON evacuations ((true)) WHERE ended_at IS NULL",
    """
    CREATE TABLE evacuation_primaries (
        evacuation_id text NOT NULL CONSTRAINT evacuation_primaries_evacuation_id_fkey REFERENCES evacuations (id),
        cell text NOT NULL CONSTRAINT evacuation_primaries_cell_fkey REFERENCES cells (id),
        state text NOT NULL CONSTRAINT evacuation_primaries_state CHECK (state IN ('waiting', 'switching', 'switched',
            'not_available', 'failed')),
        detail text NOT NULL DEFAULT '',
        CONSTRAINT evacuation_primaries_pkey PRIMARY KEY (evacuation_id, cell)
    )
    """,
    """
    COMMENT ON TABLE evacuation_primaries IS
    'Databases that are to leave the zone, or to come back to it, and what became of it.'
    """,
    """
    COMMENT ON COLUMN changes.subject IS
    'vendor:, cell:, wallet:, move:, rollout: or evacuation: and its id'
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)

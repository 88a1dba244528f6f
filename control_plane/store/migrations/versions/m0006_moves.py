"""Moves, their units and steps, and the isolated units that were given out."""

from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS: tuple[str, ...] = (
    """
    CREATE TABLE isolations (
        unit integer NOT NULL CONSTRAINT isolations_number CHECK (unit >= 65536),
        wallet_id text NOT NULL,
        ordered_at timestamptz NOT NULL,
        isolated_at timestamptz,
        rejoin_ordered_at timestamptz,
        ended_at timestamptz,
        CONSTRAINT isolations_pkey PRIMARY KEY (unit)
    )
    """,
    "COMMENT ON TABLE isolations IS 'Every isolated unit that was ever given out: its number is never used again.'",
    "COMMENT ON COLUMN isolations.ended_at IS 'The wallet is back in its slot, or never left it'",
    "CREATE UNIQUE INDEX isolations_open_idx ON isolations (wallet_id) WHERE ended_at IS NULL",
    """
    CREATE TABLE moves (
        id text NOT NULL,
        from_cell text NOT NULL CONSTRAINT moves_from_cell_fkey REFERENCES cells (id),
        to_cell text NOT NULL CONSTRAINT moves_to_cell_fkey REFERENCES cells (id),
        state text NOT NULL CONSTRAINT moves_state CHECK (state IN ('planned', 'announced', 'copying', 'sealed',
            'granted', 'activated', 'published', 'stopping', 'done', 'cancelled', 'aborted', 'quarantined')),
        purpose text NOT NULL CONSTRAINT moves_purpose CHECK (purpose IN ('order', 'rebalancing', 'draining')),
        wallet_id text,
        portion integer NOT NULL DEFAULT 0,
        announced_version bigint,
        stop text CONSTRAINT moves_stop CHECK (stop IN ('cancelled', 'aborted', 'quarantined')),
        reason text,
        detail text,
        difference jsonb,
        copied_rows bigint NOT NULL DEFAULT 0,
        copied_bytes bigint NOT NULL DEFAULT 0,
        copy_ms double precision NOT NULL DEFAULT 0,
        ordered_by text NOT NULL,
        ordered_at timestamptz NOT NULL,
        changed_at timestamptz NOT NULL,
        ended_at timestamptz,
        CONSTRAINT moves_pkey PRIMARY KEY (id),
        CONSTRAINT moves_two_cells CHECK (from_cell <> to_cell)
    )
    """,
    """
    COMMENT ON TABLE moves IS
        'The move log. What cells have committed wins over it; it may lag behind them, never lead them.'
    """,
    "CREATE INDEX moves_ordered_at_id_idx ON moves (ordered_at, id)",
    "CREATE INDEX moves_open_idx ON moves (ordered_at, id) WHERE ended_at IS NULL",
    """
    CREATE TABLE move_units (
        move_id text NOT NULL CONSTRAINT move_units_move_id_fkey REFERENCES moves (id),
        unit integer NOT NULL CONSTRAINT move_units_unit_fkey REFERENCES units (unit),
        from_epoch bigint NOT NULL,
        result text NOT NULL
            CONSTRAINT move_units_result CHECK (result IN ('waiting', 'in_hand', 'moved', 'left')),
        portion integer,
        wallets bigint,
        entries bigint,
        fence_no bigint,
        digest text,
        "grant" jsonb,
        granted_at timestamptz,
        pause_ms double precision,
        tombstoned_at timestamptz,
        cleaned_at timestamptz,
        CONSTRAINT move_units_pkey PRIMARY KEY (move_id, unit)
    )
    """,
    """COMMENT ON COLUMN move_units."grant" IS 'A copy of the source''s word'""",
    "CREATE UNIQUE INDEX move_units_open_idx ON move_units (unit) WHERE result IN ('waiting', 'in_hand')",
    "CREATE INDEX move_units_unclean_idx ON move_units (tombstoned_at) WHERE cleaned_at IS NULL",
    """
    CREATE TABLE move_steps (
        id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        move_id text NOT NULL CONSTRAINT move_steps_move_id_fkey REFERENCES moves (id),
        at timestamptz NOT NULL,
        portion integer NOT NULL,
        step text NOT NULL,
        duration_ms double precision NOT NULL,
        facts jsonb,
        CONSTRAINT move_steps_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE move_steps IS 'What the mover did and how long it took; only ever appended to.'",
    "CREATE INDEX move_steps_move_id_id_idx ON move_steps (move_id, id)",
    "COMMENT ON COLUMN changes.subject IS 'vendor:<id>, cell:<id>, wallet:<id> or move:<id>'",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)

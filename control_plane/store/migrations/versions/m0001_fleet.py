"""The fleet: cells, instances, units, directories, configurations, vendors, routers, changes."""

from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

STATEMENTS = (
    """
    CREATE TABLE fleet (
        id smallint NOT NULL CONSTRAINT fleet_one_row CHECK (id = 1),
        units_assigned_at timestamptz,
        CONSTRAINT fleet_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE fleet IS 'One row: its lock serialises publications and the first assignment.'",
    """
    CREATE TABLE cells (
        id text NOT NULL,
        state text NOT NULL CONSTRAINT cells_state
            CHECK (state IN ('registered', 'ready', 'active', 'draining', 'empty', 'retired')),
        home_zone text NOT NULL,
        capacity_per_s double precision CONSTRAINT cells_capacity CHECK (capacity_per_s > 0),
        registered_at timestamptz NOT NULL,
        state_changed_at timestamptz NOT NULL,
        CONSTRAINT cells_pkey PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE instances (
        cell text NOT NULL CONSTRAINT instances_cell_fkey REFERENCES cells (id),
        url text NOT NULL,
        zone text NOT NULL,
        admin_url text NOT NULL,
        schema_revision text NOT NULL,
        software_version text NOT NULL,
        first_seen_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        CONSTRAINT instances_pkey PRIMARY KEY (cell, url)
    )
    """,
    "COMMENT ON TABLE instances IS 'API processes of cells, as they registered.'",
    """
    CREATE TABLE units (
        unit integer NOT NULL,
        cell text NOT NULL CONSTRAINT units_cell_fkey REFERENCES cells (id),
        epoch bigint NOT NULL CONSTRAINT units_epoch CHECK (epoch >= 1),
        is_moving boolean NOT NULL DEFAULT false,
        CONSTRAINT units_pkey PRIMARY KEY (unit),
        CONSTRAINT units_number CHECK (unit BETWEEN 0 AND 16383 OR unit >= 65536)
    )
    """,
    "COMMENT ON TABLE units IS 'Which cell each unit is assigned to: what the directory publishes.'",
    "CREATE INDEX units_cell_idx ON units (cell)",
    """
    CREATE TABLE isolated_wallets (
        wallet_id text NOT NULL,
        unit integer NOT NULL CONSTRAINT isolated_wallets_unit_fkey REFERENCES units (unit),
        CONSTRAINT isolated_wallets_pkey PRIMARY KEY (wallet_id),
        CONSTRAINT isolated_wallets_unit_key UNIQUE (unit),
        CONSTRAINT isolated_wallets_number CHECK (unit >= 65536)
    )
    """,
    """
    CREATE TABLE directories (
        version bigint NOT NULL,
        issued_at timestamptz NOT NULL,
        document text NOT NULL,
        CONSTRAINT directories_pkey PRIMARY KEY (version)
    )
    """,
    "COMMENT ON COLUMN directories.document IS 'Signed, as sent'",
    """
    CREATE TABLE configurations (
        cell text NOT NULL CONSTRAINT configurations_cell_fkey REFERENCES cells (id),
        version bigint NOT NULL,
        issued_at timestamptz NOT NULL,
        document text NOT NULL,
        CONSTRAINT configurations_pkey PRIMARY KEY (cell)
    )
    """,
    "COMMENT ON COLUMN configurations.document IS 'Signed, as sent'",
    """
    CREATE TABLE vendors (
        id text NOT NULL,
        policy jsonb NOT NULL,
        CONSTRAINT vendors_pkey PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE routers (
        id text NOT NULL,
        applied bigint NOT NULL,
        seen_at timestamptz NOT NULL,
        CONSTRAINT routers_pkey PRIMARY KEY (id)
    )
    """,
    """
    CREATE TABLE changes (
        id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL,
        actor text NOT NULL,
        subject text NOT NULL,
        before jsonb,
        after jsonb,
        request_id text NOT NULL,
        CONSTRAINT changes_pkey PRIMARY KEY (id)
    )
    """,
    "COMMENT ON TABLE changes IS 'Who changed what and when; only ever appended to.'",
    "COMMENT ON COLUMN changes.actor IS 'Subject of the token'",
    "COMMENT ON COLUMN changes.subject IS 'vendor:<id> or cell:<id>'",
    "CREATE INDEX changes_subject_id_idx ON changes (subject, id)",
    """
    CREATE FUNCTION units_epoch_rule() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.unit <> OLD.unit THEN
            RAISE check_violation USING MESSAGE = 'unit ' || OLD.unit || ' must keep its number';
        END IF;
        IF NEW.epoch < OLD.epoch THEN
            RAISE check_violation USING MESSAGE = 'epoch of unit ' || OLD.unit || ' must not decrease';
        END IF;
        IF NEW.cell <> OLD.cell AND NEW.epoch = OLD.epoch THEN
            RAISE check_violation USING MESSAGE =
                'epoch of unit ' || OLD.unit || ' must rise with its new owner';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER units_epoch_rule BEFORE UPDATE ON units
        FOR EACH ROW EXECUTE FUNCTION units_epoch_rule()
    """,
    """
    CREATE FUNCTION directories_version_rule() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.version <= (SELECT max(version) FROM directories) THEN
            RAISE check_violation USING MESSAGE =
                'version ' || NEW.version || ' must be above every earlier one';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER directories_version_rule BEFORE INSERT ON directories
        FOR EACH ROW EXECUTE FUNCTION directories_version_rule()
    """,
    """
    CREATE FUNCTION configurations_version_rule() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.version <= OLD.version THEN
            RAISE check_violation USING MESSAGE =
                'version of the configuration of ' || OLD.cell || ' must grow';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER configurations_version_rule BEFORE UPDATE ON configurations
        FOR EACH ROW EXECUTE FUNCTION configurations_version_rule()
    """,
    "INSERT INTO fleet (id) VALUES (1)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)

-- Roles of a cell's cluster, made once by its superuser; running it again changes nothing.
-- cell_owner owns the schema and runs migrations; the services are cell_app and cannot change what is written.
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['cell_owner', 'cell_app', 'cell_eraser', 'cell_mover', 'cell_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        END IF;
    END LOOP;
END
$$;

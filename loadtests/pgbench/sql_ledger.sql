-- A ledger as SQL functions, as pgledger and its kind do it: transfers between two accounts, locked in id order, a row
-- for the transfer and one entry for each side with the balance before and after, balances checked, foreign keys and
-- the usual indexes. Leaner than the real ones: numbers and UUIDs instead of texts as keys, integers as money.
CREATE TABLE ledger_account (
    id bigint PRIMARY KEY,
    currency text NOT NULL DEFAULT 'EUR',
    balance bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    may_be_negative boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

CREATE TABLE ledger_transfer (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    from_account bigint NOT NULL REFERENCES ledger_account,
    to_account bigint NOT NULL REFERENCES ledger_account,
    amount bigint NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (from_account <> to_account)
);
CREATE INDEX ON ledger_transfer (from_account);
CREATE INDEX ON ledger_transfer (to_account);
CREATE INDEX ON ledger_transfer (created_at);

CREATE TABLE ledger_entry (
    id uuid PRIMARY KEY DEFAULT uuidv7(),
    account_id bigint NOT NULL REFERENCES ledger_account,
    transfer_id uuid NOT NULL REFERENCES ledger_transfer,
    amount bigint NOT NULL,
    balance_before bigint NOT NULL,
    balance_after bigint NOT NULL,
    account_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON ledger_entry (account_id);
CREATE INDEX ON ledger_entry (transfer_id);

CREATE FUNCTION post_side(account bigint, change bigint, transfer uuid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    posted ledger_account;
BEGIN
    UPDATE ledger_account SET balance = balance + change, version = version + 1, updated_at = now()
    WHERE id = account RETURNING * INTO STRICT posted;
    IF posted.balance < 0 AND NOT posted.may_be_negative THEN
        RAISE EXCEPTION 'account % may not be negative', account;
    END IF;
    INSERT INTO ledger_entry (account_id, transfer_id, amount, balance_before, balance_after, account_version)
    VALUES (account, transfer, change, posted.balance - change, posted.balance, posted.version);
    RETURN posted.currency;
END
$$;

CREATE FUNCTION transfer(from_id bigint, to_id bigint, amount bigint) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    transfer_id uuid;
BEGIN
    PERFORM FROM ledger_account WHERE id IN (from_id, to_id) ORDER BY id FOR UPDATE;
    INSERT INTO ledger_transfer (from_account, to_account, amount) VALUES (from_id, to_id, amount)
    RETURNING id INTO transfer_id;
    IF post_side(from_id, -amount, transfer_id) <> post_side(to_id, amount, transfer_id) THEN
        RAISE EXCEPTION 'accounts % and % must have one currency', from_id, to_id;
    END IF;
    RETURN transfer_id;
END
$$;

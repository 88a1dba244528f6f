-- What the two plain baselines write: the least that a ledger of balances needs. No check, no chain, no currency.
CREATE TABLE account (
    id bigint PRIMARY KEY,
    balance bigint NOT NULL DEFAULT 0,
    seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE entry (
    account_id bigint NOT NULL,
    seq bigint NOT NULL,
    amount bigint NOT NULL,
    balance_after bigint NOT NULL,
    transaction_id uuid NOT NULL,
    posted_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, seq)
);

CREATE TABLE outcome (
    account_id bigint NOT NULL,
    transaction_id uuid NOT NULL,
    amount bigint NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (account_id, transaction_id)
);

-- The same posting as one statement: one round trip, the least that a transaction per posting can cost.
\set id random(1, :accounts)
\set amount random(-1000, 1000)
WITH changed AS (
    UPDATE account SET balance = balance + :amount, seq = seq + 1 WHERE id = :id
    RETURNING id, balance, seq, uuidv7() AS transaction_id
), recorded AS (
    INSERT INTO outcome (account_id, transaction_id, amount, seq)
    SELECT id, transaction_id, :amount, seq FROM changed
)
INSERT INTO entry (account_id, seq, amount, balance_after, transaction_id, posted_at)
SELECT id, seq, :amount, balance, transaction_id, clock_timestamp() FROM changed;

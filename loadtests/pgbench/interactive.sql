-- One posting as most applications write it: lock, read, decide outside, update, insert twice, commit; six round trips.
\set id random(1, :accounts)
\set amount random(-1000, 1000)
BEGIN;
SELECT balance, seq FROM account WHERE id = :id FOR UPDATE \gset
\set balance :balance + :amount
\set seq :seq + 1
UPDATE account SET balance = :balance, seq = :seq WHERE id = :id;
INSERT INTO outcome (account_id, transaction_id, amount, seq) VALUES (:id, uuidv7(), :amount, :seq);
INSERT INTO entry (account_id, seq, amount, balance_after, transaction_id, posted_at)
VALUES (:id, :seq, :amount, :balance, uuidv7(), clock_timestamp());
COMMIT;

-- One transfer between an account (the same one always, when the load is hot) and any other.
\set one random(1, :accounts)
\set other 1 + (:one + random(0, :population - 2)) % :population
\set amount random(1, 1000)
SELECT transfer(:one, :other, :amount);

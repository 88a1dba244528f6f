"""Names of HTTP headers that the platform reads or writes."""

AUTHORIZATION = "Authorization"
CELL = "X-Cell"
DEADLINE_MS = "X-Deadline-Ms"
IDEMPOTENT_REPLAYED = "Idempotent-Replayed"
REQUEST_ID = "X-Request-Id"
RETRY_AFTER = "Retry-After"
TRACEPARENT = "traceparent"

DEADLINE_DEFAULT_MS = 5_000
DEADLINE_MAX_MS = 30_000
BODY_MAX_BYTES = 65_536

PROBLEM_TYPE = "application/problem+json"
JSON_TYPE = "application/json"

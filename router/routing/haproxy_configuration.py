"""The configuration of HAProxy as the router's data plane, drawn from the map and the routes.

Pure. The fast path is what one lookup can answer; whatever is odd about a request, or needs more than a lookup, goes to
the agent, so that every refusal has one author. No rule of money or of tokens is known here.
"""

import hashlib
import math
from urllib.parse import urlsplit

import orjson

from contract.headers import DEADLINE_DEFAULT_MS, DEADLINE_MAX_MS, PROBLEM_TYPE
from contract.problems import Problem, problem_document
from contract.reasons import Reason
from contract.values import value
from router.routing.directory import Cell, Directory, Instance
from router.routing.haproxy_maps import AGENT, DOUBTED_MAP, FACTS_MAP, SLOT_EXPRESSION, SLOTS_MAP, WALLETS_MAP
from router.routing.request_head import WALLET_ROUTES

BODY_MAX_BYTES = 16_384
"""Of the fast path: with its head it fits into one buffer, and only what is buffered can be sent again."""

QUEUE_MS = 1_000
"""How long a request may wait for room at its cell; afterwards the answer is "later"."""

QUEUE_FACTOR = 2
"""Requests of a cell under way and queued, in multiples of its room: a queue must not take the room of other cells."""

HARD_STOP_S = DEADLINE_MAX_MS // 1_000 + 5
"""After a reload the old process ends when its requests are done, and after this at the latest."""

WEIGHT_MAX = 256

_ID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_TRACEPARENT = "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$"
_DEADLINE = "[1-9][0-9]{0,3}|[12][0-9]{4}|30000"
_REQUEST_ID = "%[var(txn.request_id)]"
_SPOOFABLE = ("forwarded", "x-cell", "x-real-ip", "x-router-version", "x-unit-epoch")
_HOP_BY_HOP = (
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
)
_CHECK = "check inter 1s fastinter 100ms downinter 250ms fall 2 rise 1"
_OBSERVE = "observe layer4 error-limit 3 on-error mark-down"


@value
class DataPlane:
    """What is set from outside for one HAProxy."""

    router_id: str
    host: str
    port: int
    agent_port: int
    in_flight_max: int
    is_quiet: bool


def configuration_of(directory: Directory | None, data_plane: DataPlane) -> tuple[str, str]:
    """The text of `haproxy.cfg`, and the digest that a HAProxy running by it tells."""
    cells = () if directory is None else directory.cells
    parts = [_defaults(data_plane), _frontend(data_plane), _agent_backend(data_plane)]
    parts += [_cell_backend(cell, data_plane) for cell in cells]
    body = "\n".join(parts)
    digest = hashlib.sha256((_global("-") + body).encode()).hexdigest()[:16]
    return f"{_global(digest)}\n{body}", digest


def _global(digest: str) -> str:
    return f"""\
# Written by the router; changes are lost with the next directory.
global
    setenv CONFIGURATION_DIGEST {digest}
    log stdout format raw local0
    maxconn 9000
    no strict-limits
    hard-stop-after {HARD_STOP_S}s
    spread-checks 5
    tune.bufsize 32768
    tune.maxrewrite 2048
    # Maps are trees and expressions compiled: remembering what was looked up costs more than looking it up.
    tune.pattern.cache-size 0
"""


def _defaults(data_plane: DataPlane) -> str:
    quiet = "\n    option dontlog-normal" if data_plane.is_quiet else ""
    return f"""\
defaults
    mode http{quiet}
    option idle-close-on-response
    option abortonclose
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response junk-response
    http-reuse always
    timeout client 40s
    timeout http-request 10s
    timeout http-keep-alive 75s
    timeout connect 1s
    timeout check 1s
    timeout queue {QUEUE_MS}ms
    timeout server {DEADLINE_MAX_MS // 1_000 + 5}s
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host cellwallet
    http-check expect status 200
    {_http_error(408, _TOO_SLOW)}
    {_http_error(500, _BROKEN)}
    {_http_error(502, _UNREACHABLE)}
    {_http_error(503, _UNREACHABLE)}
    {_http_error(504, _TOO_LATE)}
"""


def _frontend(data_plane: DataPlane) -> str:
    parts = (_entrance(data_plane), _own_answers(), _slow_reasons(), _places(), _told_to_cells(), _answers())
    return "\n".join(parts)


def _entrance(data_plane: DataPlane) -> str:
    return f"""\
frontend router:vendors
    bind {_authority(data_plane.host, data_plane.port)} proto h1
    option http-restrict-req-hdr-names delete
    log global
    log-format '{_log_line(data_plane)}'
    http-request set-var(txn.request_id) uuid()
    acl has_one_id req.fhdr_cnt(x-request-id) eq 1
    acl has_good_id req.fhdr(x-request-id) -m reg ^[A-Za-z0-9._-]{{1,128}}$
    http-request set-var(txn.request_id) req.fhdr(x-request-id) if has_one_id has_good_id
"""


def _own_answers() -> str:
    """Signs of life come from HAProxy itself: they must not tell of the agent, without which it serves on."""
    version = f"str(version),map({FACTS_MAP})"
    answer = "http-request return status 200 content-type application/json lf-string"
    return f"""\
    acl is_healthz url /healthz
    acl is_readyz url /readyz
    acl has_map {version} -m found
    http-request set-log-level silent if METH_GET is_healthz or METH_GET is_readyz
    {answer} '{{"status":"ok"}}' if METH_GET is_healthz
    {answer} '{{"status":"ready","directory_version":%[{version}]}}' if METH_GET is_readyz has_map
"""


def _slow_reasons() -> str:
    """Each line is a reason why one lookup cannot answer the request."""
    return f"""\
{_routes()}
    acl is_plain_url url -m beg /v1/wallets/
    acl has_wallet var(txn.wallet) -m found
    acl has_one_token req.fhdr_cnt(authorization) eq 1
    acl has_connection req.fhdr_cnt(connection) gt 0
    acl has_plain_connection req.fhdr(connection) -m str -i keep-alive close
    acl has_deadline req.fhdr_cnt(x-deadline-ms) gt 0
    acl has_deadlines req.fhdr_cnt(x-deadline-ms) gt 1
    acl has_good_deadline req.fhdr(x-deadline-ms) -m reg ^({_DEADLINE})$
    acl has_chunks req.fhdr_cnt(transfer-encoding) gt 0
    acl has_long_body req.fhdr(content-length) -m int gt {BODY_MAX_BYTES}
    acl has_body req.fhdr(content-length) -m int gt 0
    acl has_one_length req.fhdr_cnt(content-length) eq 1
    acl has_one_type req.fhdr_cnt(content-type) eq 1
    acl has_json req.fhdr(content-type) -m str application/json
    acl is_doubted var(txn.wallet),map({DOUBTED_MAP}) -m found
    http-request set-var(txn.slow) str(path) unless is_plain_url is_wallet_route
    http-request set-var(txn.wallet) path,word(3,/) if is_plain_url is_wallet_route
    http-request set-var(txn.slow) str(token) unless has_one_token
    http-request set-var(txn.slow) str(connection) if has_connection !has_plain_connection
    http-request set-var(txn.slow) str(deadline) if has_deadlines or has_deadline !has_good_deadline
    http-request set-var(txn.slow) str(body) if has_chunks or has_long_body or METH_GET has_body
    http-request set-var(txn.slow) str(body) if !METH_GET !has_one_length
    http-request set-var(txn.slow) str(body) if !METH_GET !has_one_type or !METH_GET !has_json
    http-request set-var(txn.slow) str(doubt) if has_wallet is_doubted
"""


def _places() -> str:
    return f"""\
    acl has_place var(txn.place) -m found
    acl has_reason_to_be_slow var(txn.slow) -m found
    acl has_servers var(txn.place),nbsrv gt 0
    acl is_slow var(txn.place) -m str {AGENT}
    http-request set-var(txn.place) var(txn.wallet),map({WALLETS_MAP}) if has_wallet
    http-request set-var(txn.place) var(txn.wallet),{SLOT_EXPRESSION},map({SLOTS_MAP}) if has_wallet !has_place
    http-request set-var(txn.place) str({AGENT}) if has_reason_to_be_slow or !has_place or !has_servers
"""


def _told_to_cells() -> str:
    """Nobody can pretend to be the router."""
    taken_off = "\n".join(f"    http-request del-header {name}" for name in (*_SPOOFABLE, *_HOP_BY_HOP))
    return f"""\
    http-request wait-for-body time 10s at-least {BODY_MAX_BYTES} if !is_slow !METH_GET
    http-request del-header expect if !is_slow
{taken_off}
    http-request del-header x-forwarded- -m beg
    acl has_one_trace req.fhdr_cnt(traceparent) eq 1
    acl has_good_trace req.fhdr(traceparent) -m reg {_TRACEPARENT}
    http-request del-header traceparent unless has_one_trace has_good_trace
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Request-Id {_REQUEST_ID}
    http-request set-header X-Router-Version %[str(version),map({FACTS_MAP},0)] if !is_slow
    http-request set-header X-Deadline-Ms {DEADLINE_DEFAULT_MS} if !is_slow !has_deadline
"""


def _answers() -> str:
    """After "not mine" and "on its way" the wallet goes by the agent, which follows.

    A failure that is no problem document did not come from a cell's own code; the vendor gets one all the same. The
    end of a connection is never taken for the end of an answer.
    """
    return f"""\
    acl is_later status 503
    acl is_broken status 500
    acl is_failed status 501:599
    acl is_misdirected status 421
    acl says_moving res.body -m sub {Reason.WALLET_IS_MOVING.value}
    acl is_problem res.hdr(content-type) -m beg {PROBLEM_TYPE}
    http-response wait-for-body time 1s if is_later
    http-response set-map({DOUBTED_MAP}) %[var(txn.wallet)] 1 if has_wallet is_misdirected
    http-response set-map({DOUBTED_MAP}) %[var(txn.wallet)] 1 if has_wallet is_later says_moving
    http-response return status 500 {_lf(_BROKEN)} if is_broken !is_problem
    http-response return status 503 {_lf(_UNREACHABLE)} if is_failed !is_problem
    http-response return status 503 {_lf(_MOVING)} if is_misdirected !is_problem
    acl has_length res.fhdr_cnt(content-length) gt 0
    acl has_answer_in_chunks res.fhdr_cnt(transfer-encoding) gt 0
    acl is_without_body status 204 304
    http-response return status 503 {_lf(_UNREACHABLE)} if !has_length !has_answer_in_chunks !is_without_body
    http-response del-header server
    http-response del-header keep-alive
    acl is_bad_gateway status 502
    http-after-response set-status 503 if is_bad_gateway
    http-after-response set-header X-Request-Id {_REQUEST_ID}

    use_backend %[var(txn.place)]
    default_backend {AGENT}
"""


def _routes() -> str:
    """One line for each method; the routes are those of the Python proxy, from the same table."""
    paths: dict[str, list[str]] = {}
    for (resource, has_item, verb), methods in WALLET_ROUTES.items():
        path = (f"/{resource}" if resource else "") + (f"/{_ID}" if has_item else "") + (f"/{verb}" if verb else "")
        for method in methods:
            paths.setdefault(method, []).append(path)
    texts = {method: "|".join(of_method) for method, of_method in sorted(paths.items())}
    lines = [f"    acl is_path_of_{method} path -m reg ^/v1/wallets/{_ID}({text})$" for method, text in texts.items()]
    lines += [
        f"    http-request set-var(txn.route) bool(true) if {{ method {name} }} is_path_of_{name}" for name in texts
    ]
    return "\n".join([*lines, "    acl is_wallet_route var(txn.route) -m bool"])


def _log_line(data_plane: DataPlane) -> str:
    """Like a line of the Python proxy's access log, as far as HAProxy knows; every text in it has a known alphabet."""
    return (
        '{"event":"request","timestamp":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","level":"info",'
        f'"router":"{data_plane.router_id}","request_id":"{_REQUEST_ID}",'
        '"wallet_id":"%[var(txn.wallet)]","backend":"%b","instance":"%s","slow":"%[var(txn.slow)]",'
        '"status":%ST,"duration_ms":%Ta,"retries":"%rc","ended":"%tsc"}'
    )


def _agent_backend(data_plane: DataPlane) -> str:
    """The slow path: it parks, follows, computes, splits and merges, and holds to the deadlines itself."""
    return f"""\
backend {AGENT}
    server agent 127.0.0.1:{data_plane.agent_port} {_CHECK}
"""


def _cell_backend(cell: Cell, data_plane: DataPlane) -> str:
    near, far = _tiers(cell)
    agent = f"agent 127.0.0.1:{data_plane.agent_port} track {AGENT}/agent"
    room = math.ceil(data_plane.in_flight_max / max(1, len(near)))
    servers = [_server(instance, weight, room) for instance, weight in near]
    servers += [_server(instance, weight, room) + " backup" for instance, weight in far]
    listed = "\n".join(f"    server {server}" for server in servers)
    return f"""\
backend {cell.id}
    balance hash var(txn.wallet)
    hash-type consistent
    option allbackups
    http-request deny deny_status 503 if {{ be_conn gt {QUEUE_FACTOR * data_plane.in_flight_max} }}
    http-request set-header Host {cell.id}
    http-request set-timeout server req.fhdr(x-deadline-ms)
{listed}
    # Knows how to wait for a cell that is out of reach; the light weight keeps it out of the others' way.
    server {agent} weight 1 backup maxconn {data_plane.in_flight_max}
"""


Weighted = list[tuple[Instance, int]]


def _tiers(cell: Cell) -> tuple[Weighted, Weighted]:
    """Instances to ask, and those to ask when none of them is there: own zone first; a zone of weight 0 is left out."""
    weights = {instance.zone: cell.zone_weights.get(instance.zone, 1) for instance in cell.instances}
    if not any(weights.values()):
        weights = dict.fromkeys(weights, 1)
    most = max(weights.values(), default=1)
    worth_asking = [
        (instance, max(1, weights[instance.zone] * WEIGHT_MAX // most))
        for instance in cell.instances
        if weights[instance.zone] > 0
    ]
    near = [pair for pair in worth_asking if pair[0].zone == cell.own_zone]
    far = [pair for pair in worth_asking if pair[0].zone != cell.own_zone]
    return (near, far) if near else (far, [])


def _server(instance: Instance, weight: int, room: int) -> str:
    parts = urlsplit(instance.url)
    is_tls = parts.scheme == "https"
    authority = _authority(parts.hostname or "", parts.port or (443 if is_tls else 80))
    name = authority.replace("[", "").replace("]", "")
    tls = f" ssl verify required ca-file @system-ca sni str({parts.hostname})" if is_tls else ""
    waiting = "init-addr libc,none pool-purge-delay 4s"
    return f"{name} {authority} maxconn {room} weight {weight} {_CHECK} {_OBSERVE} {waiting}{tls}"


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _http_error(status: int, problem: Problem) -> str:
    return f"http-error status {status} {_lf(problem)}"


def _lf(problem: Problem) -> str:
    """A problem document as a log-format string in quotes: its details have neither quotes nor per cents."""
    document = problem_document(problem, request_id=_REQUEST_ID)
    later = " hdr Retry-After 1" if problem.status == 503 else ""
    return f"content-type {PROBLEM_TYPE} lf-string '{orjson.dumps(document).decode()}'{later}"


_UNREACHABLE = Problem(reason=Reason.CELL_MUST_BE_REACHABLE, detail="The cell does not answer, or has no room.")
_MOVING = Problem(reason=Reason.WALLET_IS_MOVING, detail="The wallet is changing cells.")
_TOO_LATE = Problem(reason=Reason.DEADLINE_MUST_NOT_PASS, detail="There was no answer before the deadline.")
_BROKEN = Problem(reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL, detail="The cell failed on this request.")
_TOO_SLOW = Problem(
    reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
    detail="The request did not come to its end in time.",
    facts={"status": 408, "errors": []},
)

"""What TigerBeetle's benchmark prints is understood, in both forms that it has had; what is not understood is told."""

import pytest

from loadtests.tigerbeetle import TigerbeetleMustTellError, check_rate, parse

# As its makers show it: github.com/tigerbeetle/tigerbeetle/pull/3021 (2025-06-11).
KEY_LATENCIES = """\
13 batches in 0.33 s
transfer batch size = 8189 txs
transfer batch delay = 0 us
load accepted = 301887 tx/s
batch latency p1   = 0 ms
batch latency p50  = 22 ms
batch latency p99  = 32 ms
batch latency p100 = 42 ms
"""

# github.com/tigerbeetle/tigerbeetle/pull/2580 (2024-12-18), its beginning.
ALL_LATENCIES = """\
1222 batches in 30.45 s
transfer batch size = 8190 txs
transfer batch delay = 0 us
load accepted = 328409 tx/s
batch latency p1 = 9 ms
batch latency p10 = 13 ms
batch latency p50 = 21 ms
batch latency p95 = 34 ms
batch latency p99 = 111 ms
batch latency p100 = 121 ms

100 queries in 3.97 s
query latency p1 = 26 ms
query latency p10 = 28 ms
"""


def test_the_newer_form_is_understood() -> None:
    told = parse(KEY_LATENCIES)
    assert (told.per_s, told.batches, told.elapsed_s) == (301_887, 13, 0.33)
    assert told.batch_ms == {"p1": 0, "p50": 22, "p99": 32, "p100": 42}
    assert check_rate(told, transfers=100_000).has_passed


def test_the_older_form_is_understood_and_queries_are_not_taken_for_batches() -> None:
    told = parse(ALL_LATENCIES)
    assert (told.per_s, told.batches, told.elapsed_s) == (328_409, 1_222, 30.45)
    assert told.batch_ms["p99"] == 111
    assert told.batch_ms["p1"] == 9
    assert check_rate(told, transfers=10_000_000).has_passed


@pytest.mark.parametrize("missing", ["load accepted", "13 batches"])
def test_output_without_a_rate_is_no_figure(missing: str) -> None:
    rest = "".join(line for line in KEY_LATENCIES.splitlines(keepends=True) if not line.startswith(missing))
    with pytest.raises(TigerbeetleMustTellError, match="tells no rate"):
        parse(rest)


@pytest.mark.parametrize("transfers", [90_000, 110_000])
def test_a_rate_that_does_not_belong_to_the_transfers_is_seen(transfers: int) -> None:
    assert not check_rate(parse(KEY_LATENCIES), transfers=transfers).has_passed


def test_a_rate_of_nothing_is_no_rate() -> None:
    stalled = KEY_LATENCIES.replace("301887", "0")
    assert not check_rate(parse(stalled), transfers=0).has_passed

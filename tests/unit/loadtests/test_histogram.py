"""The histogram: quantiles that are right within a bucket, at any size of value."""

import math

from hypothesis import given
from hypothesis import strategies as st

from loadtests.histogram import Histogram, bucket_of, merged, upper_end_us

LATENCIES = st.integers(min_value=0, max_value=600_000_000)
PRECISION = 1 / 64


def histogram_of(values: list[int]) -> Histogram:
    histogram = Histogram()
    for one in values:
        histogram.record(one)
    return histogram


@given(us=LATENCIES)
def test_a_value_lies_within_its_bucket(us: int) -> None:
    assert us <= upper_end_us(bucket_of(us)) <= us * (1 + PRECISION)


@given(one=LATENCIES, other=LATENCIES)
def test_buckets_keep_the_order_of_values(one: int, other: int) -> None:
    assert (bucket_of(one) <= bucket_of(other)) or one > other


@given(values=st.lists(LATENCIES, min_size=1), share=st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_quantiles_are_those_of_the_sorted_values(values: list[int], share: float) -> None:
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    assert exact <= histogram_of(values).quantile_us(share) <= exact * (1 + PRECISION)


@given(parts=st.lists(st.lists(LATENCIES), min_size=1))
def test_merging_is_recording_all_in_one(parts: list[list[int]]) -> None:
    whole, one = merged(map(histogram_of, parts)), histogram_of([us for part in parts for us in part])
    assert (whole.count, whole.max_us, whole.counts) == (one.count, one.max_us, one.counts)


def test_the_range_ends_nowhere() -> None:
    hour_us = 3_600_000_000
    assert histogram_of([1, hour_us]).quantile_us(1.0) == hour_us


def test_an_empty_histogram_has_no_latency() -> None:
    assert Histogram().quantile_us(0.99) == 0

"""Whose the machine's time was."""

from loadtests.usage import Usage


def test_what_is_measured_is_not_others() -> None:
    """A round beside busy others is made again: a router that counted as one of them had each made four times."""
    usage = Usage(
        elapsed_s=2.0,
        api_cpu_s=1.0,
        postgres_cpu_s=0.5,
        router_cpu_s=0.75,
        machine_busy_s=3.0,
        api_memory_mb=100.0,
    )
    assert usage.others_cores(ours_s=0.25) == 0.25
    assert usage.others_cores(ours_s=1.0) == 0.0

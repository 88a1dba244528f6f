"""Logs stay bounded while somebody writes to them."""

from pathlib import Path

from cellwallet.local.logs import bound_logs


def test_only_a_log_that_grew_too_long_is_copied_aside_and_emptied(tmp_path: Path) -> None:
    small, large = tmp_path / "small.log", tmp_path / "large.log"
    small.write_text("a line\n")
    with large.open("a") as writer:
        writer.write("x" * 100 + "\n")
        writer.flush()
        assert bound_logs(tmp_path, max_bytes=50) == [large]
        writer.write("after\n")
    assert large.read_text() == "after\n"
    assert (tmp_path / "large.log.1").read_text() == "x" * 100 + "\n"
    assert small.read_text() == "a line\n"
    assert bound_logs(tmp_path, max_bytes=50) == []

"""Entries that PostgreSQL made itself are what the cell would have written, kept for the next run, and found wrong by
the cell's own audit when they are wrong.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from cellwallet.local.postgres import THROWAWAY
from contract.ids import WalletId
from loadtests import bench, grown_cells, growth
from loadtests.checks import check_audit, check_chains, check_conservation
from loadtests.generator import Generator, generator
from loadtests.grown_cells import PATTERN_OWNER, DiskMustHaveRoomError, GrownCell, Growth, grown_cell, kept_folder
from loadtests.payloads import wallet_of

SMALL = Growth(wallets=7, entries_each=5, overdraft_limit=1_000_000)
OWN = {"wallet_id", "posted_at", "opened_at", "transaction_id", "unit", "owner_ref", "hash", "head_hash", "salt", "xid"}
AMOUNTS = {"amount", "delta", "balance", "balance_after", "requested_amount", "sealed"}
"""What differs from wallet to wallet; everything else is the pattern's."""
BENCH = ("--quick", "--wallets", "20", "--seconds", "0.2")


@pytest.fixture(scope="module")
def senders() -> Iterator[Generator]:
    with generator(1) as made:
        yield made


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def grown(folder: Path, senders: Generator, size: Growth = SMALL, steps: list[int] | None = None) -> Any:
    told = (lambda: None) if steps is None else (lambda: steps.append(1))
    return grown_cell(size, folder, settings=THROWAWAY, lanes=1, generator=senders, told=told)


def audited(one: GrownCell) -> Any:
    one.cell.serve(1)
    return one.cell.audit(is_full=True)


def rows_of(one: GrownCell, table: str, wallet: WalletId) -> list[dict[str, Any]]:
    with psycopg.connect(one.cell.database_url, row_factory=dict_row) as connection:
        order = "" if table == "wallets" else " ORDER BY seq"
        statement = f"SELECT * FROM {table} WHERE wallet_id = %s{order}"  # noqa: S608 - our own words
        return connection.execute(statement.encode(), [wallet]).fetchall()


def test_grown_rows_are_as_the_cell_writes_them(tmp_path: Path, senders: Generator) -> None:
    """Column by column; what may differ has the same type and length."""
    size = Growth(wallets=2, entries_each=3, overdraft_limit=1_000_000)
    with grown(tmp_path / "cell", senders, size) as one:
        for table in ("wallets", "entries", "transactions"):
            written = rows_of(one, table, wallet_of(PATTERN_OWNER))
            made = rows_of(one, table, wallet_of("owner 1"))
            assert len(written) == len(made)
            for by_cell, by_growth in zip(written, made, strict=True):
                differing = {name for name, field in by_cell.items() if by_growth[name] != field}
                assert differing <= OWN | AMOUNTS
                for name in differing - {"owner_ref"}:
                    assert type(by_growth[name]) is type(by_cell[name]), name
                    if isinstance(by_cell[name], bytes):
                        assert len(by_growth[name]) == len(by_cell[name]), name


def test_a_grown_cell_passes_every_audit(tmp_path: Path, senders: Generator) -> None:
    steps: list[int] = []
    with grown(tmp_path / "cell", senders, steps=steps) as one:
        report = audited(one)
        assert check_audit(report, is_full=True).has_passed, report
        assert report["checked"]["entries"] == SMALL.entries + 3
        assert report["checked"]["wallets"] == SMALL.wallets + 1
        assert len(set(one.wallets)) == SMALL.wallets
        assert check_chains(one.cell.database_url, wallets=one.wallets).has_passed
        assert check_conservation(one.cell.database_url).has_passed
    assert len(steps) == SMALL.entries_each


@pytest.mark.parametrize(
    ("statement", "right", "wrong", "invariant"),
    [
        ("NEXT_LAYER", "'v1'", "'v2'", "L6"),
        ("NEXT_LAYER", "octet_length(details)", "'0'", "L6"),
        ("NEXT_LAYER", "g.balance + g.amount AS", "g.amount AS", "L1"),
        ("ACCOUNT_DELTAS", "-sum(l.amount)", "sum(l.amount)", "L5"),
        ("TRANSACTIONS", "l.balance", "0", "L8"),
    ],
)
def test_mutants_of_the_growth_are_found(
    tmp_path: Path,
    senders: Generator,
    monkeypatch: pytest.MonkeyPatch,
    statement: str,
    right: str,
    wrong: str,
    invariant: str,
) -> None:
    text = getattr(growth, statement)
    assert right in text
    monkeypatch.setattr(growth, statement, text.replace(right, wrong, 1))
    with grown(tmp_path / "cell", senders) as one:
        assert invariant in {finding["invariant"] for finding in audited(one)["findings"]}


def test_the_next_run_copies_it_and_leaves_what_is_kept_alone(tmp_path: Path, senders: Generator) -> None:
    with grown(tmp_path / "first", senders) as first:
        assert not first.was_kept
        before = rows_of(first, "entries", wallet_of("owner 0"))
        with psycopg.connect(first.cell.database_url, autocommit=True) as connection:
            connection.execute("DROP TABLE transactions")
    steps: list[int] = []
    with grown(tmp_path / "second", senders, steps=steps) as second:
        assert second.was_kept
        assert steps == []
        assert rows_of(second, "entries", wallet_of("owner 0")) == before
        assert check_audit(audited(second), is_full=True).has_passed


def test_another_form_is_kept_instead_and_another_size_beside(
    tmp_path: Path, senders: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Growth(wallets=3, entries_each=3, overdraft_limit=1_000_000)
    for number, size in enumerate((SMALL, other)):
        with grown(tmp_path / f"cell-{number}", senders, size):
            pass
    was = kept_folder(SMALL)
    monkeypatch.setattr(grown_cells, "SOURCES", ("contract/chain.py",))
    now = kept_folder(SMALL)
    assert was != now
    with grown(tmp_path / "again", senders) as one:
        assert not one.was_kept
    assert now.exists()
    assert not was.exists()
    assert [path.name.partition("-")[0] for path in sorted(now.parent.iterdir())] == ["3x3", "7x5"]


def test_an_interrupted_growth_is_not_taken_for_one(tmp_path: Path, senders: Generator) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        grown_cell(SMALL, tmp_path / "cell", settings=THROWAWAY, lanes=1, generator=senders, told=stop),
    ):
        pytest.fail("it was interrupted")
    assert not kept_folder(SMALL).exists()
    with grown(tmp_path / "again", senders) as one:
        assert not one.was_kept


def test_a_full_disk_is_told_before_anything_is_begun(
    tmp_path: Path, senders: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grown_cells, "BYTES_PER_ENTRY", 10**15)
    with (
        pytest.raises(DiskMustHaveRoomError, match=r"35 entries needs .* GB at .* are free"),
        grown(tmp_path / "cell", senders),
    ):
        pytest.fail("there was no room")
    assert not (tmp_path / "cell").exists()


def test_a_long_past_is_measured_in_turn_with_a_fresh_cell_and_audited(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    assert bench.main([*BENCH, "--only", "P6", "--out", str(out)]) == 0, out.read_text()
    document = json.loads(out.read_text())
    assert set(document["targets"]) == {"P6"}
    assert set(document["figures"]) == {"growth.small.peak", "growth.grown.peak"}
    assert document["settings"]["grown_entries"] == 2_000
    (one,) = document["figures"]["growth.grown.peak"]["rounds"]
    assert "a checkpoint of 200 wallets" in one["notes"][-1]
    (audit,) = [check for check in document["checks"] if check["name"] == "full audit of the grown cell"]
    assert audit["passed"]
    assert "201 wallets" in audit["detail"]


def test_without_room_the_target_is_absent_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grown_cells, "BYTES_PER_ENTRY", 10**15)
    out = tmp_path / "bench.json"
    assert bench.main([*BENCH, "--only", "P6", "--out", str(out)]) == 2
    assert not out.exists()
    assert "make room" in capsys.readouterr().err
    assert bench.main([*BENCH, "--only", "P3,P6", "--out", str(out)]) == 0
    document = json.loads(out.read_text())
    assert set(document["targets"]) == {"P3"}
    assert any(line.startswith("P6 was not measured") for line in document["absent"])

"""Ports that stay the same from one start to the next."""

import socket
from pathlib import Path

from cellwallet.local.ports import FIRST, LAST, Ports


def listener(port: int) -> socket.socket:
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", port))
    taken.listen()
    return taken


def test_a_port_is_the_same_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    first = Ports(path)
    claimed = {name: first.claim(name) for name in ("router", "cell-1-api-1", "cell-1-api-2")}
    assert len(set(claimed.values())) == 3
    assert all(FIRST <= port <= LAST for port in claimed.values())
    again = Ports(path)
    assert {name: again.claim(name) for name in claimed} == claimed


def test_a_port_that_was_taken_meanwhile_is_replaced_for_good(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    before = Ports(path).claim("router")
    with listener(before):
        replaced = Ports(path).claim("router")
    assert replaced != before
    assert Ports(path).claim("router") == replaced


def test_the_wanted_port_is_taken_if_it_is_free_and_another_one_if_not(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    wanted = Ports(tmp_path / "other.json").claim("somebody")
    with listener(wanted):
        assert Ports(path).claim("router", wanted=wanted) != wanted
    assert Ports(path).claim("router", wanted=wanted) == wanted


def test_nobody_is_given_the_port_of_another(tmp_path: Path) -> None:
    ports = Ports(tmp_path / "ports.json")
    taken = ports.claim("router")
    assert ports.claim("other", wanted=taken) != taken

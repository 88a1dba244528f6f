"""The simulated fleet, put together: cells, routers, the control plane and its movers, vendors; and what goes wrong."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from platform_keys import token

from cell.ledger.unit_life import UnitRow
from contract.configuration import CellConfiguration, PublicKey
from contract.ids import CellId, WalletId, wallet_id_of
from contract.scopes import VENDOR_SCOPES
from contract.signing import public_jwk
from contract.slots import SLOTS, Unit, slot_of
from control_plane.fleet.model import OwnedRun
from simulation.cell import Disk, SimulatedCell
from simulation.control_plane import DIRECTORY_HOST, Records, SimulatedMover, directory_application
from simulation.network import FAIR, Network, Process, Weather
from simulation.router import SimulatedRouter
from simulation.trace import Trace
from simulation.vendors import CURRENCY, Clients, Escrow, Vendor
from simulation.virtual_time import START_S

ROUTERS = ("router-1", "router-2")
UNITS_MAX = 9
VENDORS = 5
HOT_SHARE = 0.5
"""Of the moves: the unit of the wallet that most vendors use."""


@cache
def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(random.Random(name).randbytes(32))


@cache
def populous_slots() -> tuple[tuple[str, ...], ...]:
    """Owners by slot, of slots with two wallets each, and of as many with one."""
    by_slot: dict[int, list[str]] = {}
    for number in range(700):
        ref = f"person-{number}"
        by_slot.setdefault(slot_of(wallet_of(ref)), []).append(ref)
    full = [tuple(refs[:2]) for _, refs in sorted(by_slot.items()) if len(refs) > 1]
    single = [tuple(refs) for _, refs in sorted(by_slot.items()) if len(refs) == 1]
    return (*full[:4], *single[: UNITS_MAX - 4])


def wallet_of(ref: str) -> WalletId:
    return wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency=CURRENCY)


class SimulatedFleet:
    def __init__(self, seed: str, trace: Trace, watch: Callable[[], None]) -> None:
        self._dice = {
            name: random.Random(f"{seed}/{name}") for name in ("network", "cells", "fleet", "vendors", "faults")
        }
        dice = self._dice["fleet"]
        self.trace = trace
        self.death_share = 0.0
        """How often a named point is somebody's end."""
        self.network = Network(self._dice["network"], trace)
        self.names = tuple(f"cell-{letter}" for letter in "abcd"[: dice.choice((3, 3, 4))])
        slots = list(populous_slots())
        self.units = tuple(slot_of(wallet_of(refs[0])) for refs in slots)
        refs = [ref for of_slot in slots for ref in of_slot]
        dice.shuffle(refs)
        self.absent = tuple(wallet_of(ref) for ref in refs[:2])
        self.judged = refs[2:8]
        self.unjudged = refs[8:]
        self.hot_unit = slot_of(wallet_of(self.judged[0]))
        owner = {unit: dice.choice(self.names) for unit in self.units}
        self.skew_us = {name: dice.randint(-40_000, 40_000) for name in self.names}
        self.cells = {name: self._cell(name, watch) for name in self.names}
        for unit, name in owner.items():
            self.cells[name].disk.units[unit] = UnitRow(unit=unit, state="active", epoch=1)
        for cell in self.cells.values():
            cell.configuration = self._configuration(cell.name)
        self.records = Records(self.names, _runs(owner, self.names[0]), self._dice["cells"])
        self.routers = {
            name: SimulatedRouter(name, network=self.network, dice=self._dice["cells"], trace=trace) for name in ROUTERS
        }
        acting: dict[str, Process] = {}
        self.movers = {
            name: SimulatedMover(
                name,
                records=self.records,
                network=self.network,
                dice=self._dice["cells"],
                trace=trace,
                death_share=lambda: self.death_share,
                acting=acting,
            )
            for name in ("mover-1", "mover-2")
        }
        self.control_plane: Process | None = None
        self.clients: Clients

    def start(self) -> None:
        for cell in self.cells.values():
            cell.start()
        self.start_control_plane()
        for router in self.routers.values():
            router.start()
        self.movers["mover-1"].start()
        bearer = token(_key("issuer"), "issuer-1", subject="acme", scope=" ".join(sorted(VENDOR_SCOPES)))
        self.clients = Clients(self.network, ROUTERS, self._dice["vendors"], f"Bearer {bearer}")

    def start_control_plane(self) -> None:
        self.control_plane = Process("control-plane")
        self.network.listen(DIRECTORY_HOST, self.control_plane, directory_application(self.records))

    def all_up(self) -> None:
        self.death_share = 0.0
        self.network.weather = self.network.admin_weather = FAIR
        self.network.cut, self.network.late_grants = set(), 0.0
        self.records.is_down = False
        for cell in self.cells.values():
            cell.disk.is_down, cell.disk.doubt = False, 0.0
            if not cell.is_up:
                cell.start()
        for router in self.routers.values():
            if not router.is_up:
                router.start()
        if self.control_plane is None or not self.control_plane.is_up:
            self.start_control_plane()
        self.movers["mover-2"].kill()
        if not self.movers["mover-1"].is_up:
            self.movers["mover-1"].start()

    async def open_wallets(self) -> None:
        """Before anything goes wrong."""
        clients = self.clients
        for ref in (*self.judged, *self.unjudged):
            body = {"owner": {"type": "person", "ref": ref}, "currency": CURRENCY}
            while True:
                told = await clients.call("PUT", f"/v1/wallets/{wallet_of(ref)}", body, deadline_ms=2_000)
                if not isinstance(told, str) and told.status in {200, 201}:
                    break
                await asyncio.sleep(0.05)
        for ref in self.unjudged:
            body = {"transaction_id": clients.new_id(), "amount": 500, "currency": CURRENCY}
            await clients.call("POST", f"/v1/wallets/{wallet_of(ref)}/credit", body, deadline_ms=2_000)

    def vendors(self) -> list[Vendor | Escrow]:
        judged = [wallet_of(ref) for ref in self.judged]
        unjudged = [wallet_of(ref) for ref in self.unjudged]
        vendors: list[Vendor | Escrow] = [
            Vendor(self.clients, judged, is_patient=number % 2 == 0) for number in range(VENDORS)
        ]
        return [*vendors, *(Escrow(self.clients, unjudged, self.absent) for _ in range(3))]

    def order_a_move(self, dice: random.Random) -> None:
        """Of a unit or two that nobody moves, to a cell that has a place."""
        busy = [cell for move in self.records.open_moves() for cell in (move.from_cell, move.to_cell)]
        taken = {unit.unit for move in self.records.open_moves() for unit in move.units}
        free = [name for name in self.names if busy.count(CellId(name)) < 2]
        units = [unit for unit in self.units if unit not in taken and self.records.run_of(unit).cell in free]
        if not units or len(free) < 2:
            return
        first = self.hot_unit if self.hot_unit in units and dice.random() < HOT_SHARE else dice.choice(units)
        source = self.records.run_of(first).cell
        together = [unit for unit in units if self.records.run_of(unit).cell == source and unit != first]
        chosen = [first, *dice.sample(together, k=min(len(together), dice.choice((0, 0, 0, 1))))]
        move = self.records.order(chosen, dice.choice([name for name in free if name != source]))
        self.trace.note("operator", f"orders {move.id}: {chosen} from {source} to {move.to_cell}")

    def _cell(self, name: str, watch: Callable[[], None]) -> SimulatedCell:
        def clock() -> int:
            return int((START_S + asyncio.get_running_loop().time()) * 1e6) + self.skew_us[name]

        return SimulatedCell(
            name,
            key=_key(name),
            disk=Disk(clock, self._dice["cells"], watch),
            network=self.network,
            dice=self._dice["cells"],
            trace=self.trace,
            router_url=f"http://{ROUTERS[len(name) % 2]}",
            death_share=lambda: self.death_share,
        )

    def _configuration(self, cell: str) -> CellConfiguration:
        peers = {name: public_jwk(_key(name).public_key(), key_id=f"cell:{name}") for name in self.names}
        return CellConfiguration(
            cell=cell,
            version=1,
            issued_at="2027-01-15T08:00:00.000000Z",
            jwks={"keys": [public_jwk(_key("issuer").public_key(), key_id="issuer-1")]},
            peers={name: PublicKey.model_validate(jwk) for name, jwk in peers.items()},
        )


class Faults:
    """Breaks things, one after the other, and mends each of them a while later."""

    def __init__(self, fleet: SimulatedFleet, dice: random.Random) -> None:
        self._fleet = fleet
        self._dice = dice
        self._mending: set[asyncio.Task[None]] = set()
        self._acts = (
            self._kill_cell,
            self._kill_cell,
            self._kill_mover,
            self._kill_mover,
            self._kill_router,
            self._kill_control_plane,
            self._lose_records,
            self._lose_disk,
            self._cut,
            self._second_mover,
            self._change_weather,
            self._change_clock,
            self._cancel_a_move,
        )

    async def run(self, *, until_s: float) -> None:
        loop, dice = asyncio.get_running_loop(), self._dice
        self._change_weather()
        self._fleet.death_share = dice.choice((0.0, 0.02, 0.06))
        mean_s = dice.choice((0.3, 0.6, 1.5))
        orders = loop.create_task(self._order_moves())
        self._mending |= {orders, loop.create_task(self._lie_in_wait(dice.choice((0.0, 0.01, 0.03))))}
        self._fleet.network.late_grants = dice.choice((0.0, 0.3))
        while loop.time() < until_s:
            await asyncio.sleep(dice.expovariate(1 / mean_s))
            if loop.time() < until_s:
                dice.choice(self._acts)()
        for task in self._mending:
            task.cancel()
        await asyncio.gather(*self._mending, return_exceptions=True)

    async def _order_moves(self) -> None:
        while True:
            self._fleet.order_a_move(self._dice)
            await asyncio.sleep(self._dice.uniform(0.1, 0.7))

    async def _lie_in_wait(self, share: float) -> None:
        """Strikes where it hurts: between a fence and the activation."""
        fleet, dice = self._fleet, self._dice
        while True:
            await asyncio.sleep(0.004)
            hot = [
                cell
                for cell in fleet.cells.values()
                for unit in fleet.units
                if (row := cell.disk.units.get(unit)) is not None and row.state in {"fenced", "staged", "granted"}
            ]
            if hot and dice.random() < share:
                victim = dice.choice([fleet.movers["mover-1"], fleet.movers["mover-1"], *hot])
                self._note(f"{victim.name} is killed in the act")
                victim.kill()
                if dice.random() < 0.5:
                    self._second_mover()

    def _later(self, least_s: float, most_s: float, mend: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(self._dice.uniform(least_s, most_s))
            mend()

        self._mending.add(asyncio.get_running_loop().create_task(wait()))

    def _note(self, what: str) -> None:
        self._fleet.trace.note("faults", f"! {what}")

    def _kill_cell(self) -> None:
        cell = self._fleet.cells[self._dice.choice(self._fleet.names)]
        self._note(f"{cell.name} is killed")
        cell.kill()

    def _kill_mover(self) -> None:
        self._note("the mover is killed")
        self._fleet.movers["mover-1"].kill()

    def _kill_router(self) -> None:
        router = self._fleet.routers[self._dice.choice(ROUTERS)]
        is_restored = self._dice.random() < 0.4
        self._note(f"{router.name} is killed" + (", its disk is set back" if is_restored else ""))
        router.kill()
        self._later(0.05, 1.0, lambda: router.start(is_restored=is_restored) if not router.is_up else None)

    def _kill_control_plane(self) -> None:
        self._note("the control plane is gone")
        if self._fleet.control_plane is not None:
            self._fleet.control_plane.kill()
        self._later(0.2, 3.0, self._fleet.start_control_plane)

    def _lose_records(self) -> None:
        self._note("the control plane's database is down")
        self._fleet.records.is_down = True
        self._later(0.1, 1.5, lambda: setattr(self._fleet.records, "is_down", False))

    def _lose_disk(self) -> None:
        cell = self._fleet.cells[self._dice.choice(self._fleet.names)]
        self._note(f"the database of {cell.name} is down")
        cell.disk.is_down = True
        self._later(0.02, 0.8, lambda: setattr(cell.disk, "is_down", False))

    def _cut(self) -> None:
        names = (*self._fleet.names, *ROUTERS, "mover-1", "control-plane")
        pair = frozenset(self._dice.choice(list(combinations(names, 2))))
        self._note(f"{' and '.join(sorted(pair))} are cut off from each other")
        self._fleet.network.cut.add(pair)
        self._later(0.1, 2.0, lambda: self._fleet.network.cut.discard(pair))

    def _second_mover(self) -> None:
        mover = self._fleet.movers["mover-2"]
        if not mover.is_up:
            self._note("a second mover has lost its locks")
            mover.is_alone = False
            mover.start()
            self._later(0.5, 3.0, mover.kill)

    def _change_weather(self) -> None:
        dice = self._dice
        self._fleet.network.weather = Weather(
            delay_mean_s=dice.choice((0.0005, 0.002, 0.01)),
            lost=dice.choice((0.0, 0.01, 0.04)),
            answer_lost=dice.choice((0.0, 0.01, 0.04)),
            twice=dice.choice((0.0, 0.02, 0.1)),
            late=dice.choice((0.0, 0.01, 0.05)),
        )
        self._fleet.network.admin_weather = Weather(
            delay_mean_s=dice.choice((0.0005, 0.002, 0.02)),
            lost=dice.choice((0.0, 0.02, 0.05)),
            answer_lost=dice.choice((0.0, 0.02, 0.05)),
            twice=dice.choice((0.0, 0.1, 0.3)),
            late=dice.choice((0.0, 0.05, 0.12)),
            late_max_s=dice.choice((0.5, 2.0, 3.0)),
        )
        for cell in self._fleet.cells.values():
            cell.disk.doubt = dice.choice((0.0, 0.0, 0.01))

    def _change_clock(self) -> None:
        name = self._dice.choice(self._fleet.names)
        self._fleet.skew_us[name] = self._dice.randint(-40_000, 40_000)

    def _cancel_a_move(self) -> None:
        moves = self._fleet.records.open_moves()
        if moves:
            move = self._dice.choice(moves)
            self._note(f"{move.id} is cancelled")
            self._fleet.records.cancel(move.id)


async def keep_up(fleet: SimulatedFleet, dice: random.Random) -> None:
    """The supervisor: what has died, however it died, is started again a moment later."""
    while True:
        await asyncio.sleep(dice.uniform(0.02, 0.4))
        dead = [one for one in (*fleet.cells.values(), fleet.movers["mover-1"]) if not one.is_up]
        for one in dead:
            if dice.random() < 0.5:
                fleet.trace.note("supervisor", f"starts {one.name}")
                one.start()


def _runs(owner: dict[Unit, str], rest: str) -> Sequence[OwnedRun]:
    """Of all slots: the few that somebody uses, and all others with one cell."""
    runs: list[OwnedRun] = []
    first = 0
    for unit in (*sorted(owner), SLOTS):
        if first < unit:
            runs.append(OwnedRun(first=first, last=unit - 1, cell=CellId(rest)))
        if unit < SLOTS:
            runs.append(OwnedRun(first=unit, last=unit, cell=CellId(owner[Unit(unit)])))
        first = unit + 1
    return tuple(_joined(runs))


def _joined(runs: Iterable[OwnedRun]) -> list[OwnedRun]:
    joined: list[OwnedRun] = []
    for run in runs:
        if joined and joined[-1].cell == run.cell:
            joined[-1] = replace(joined[-1], last=run.last)
        else:
            joined.append(run)
    return joined

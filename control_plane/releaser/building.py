"""Puts together who carries rollouts and evacuations out, from the settings. Connects to nothing yet."""

from datetime import timedelta

from control_plane.cell_admin import CellAdmin, admin_client
from control_plane.crash_points import CrashPoints
from control_plane.releaser.evacuating import EvacuationRun
from control_plane.releaser.figures import FiguresSource, ScrapedFigures
from control_plane.releaser.local_substrate import LocalSubstrate
from control_plane.releaser.local_switch_overs import LocalSwitchOvers
from control_plane.releaser.log import ReleaseLog
from control_plane.releaser.prometheus import PrometheusFigures
from control_plane.releaser.run import RolloutRun
from control_plane.releaser.substrate import NoSubstrate, Substrate
from control_plane.releaser.switch_overs import NoSwitchOvers, SwitchOvers
from control_plane.releaser.worker import Releasing
from control_plane.settings import Settings
from control_plane.store.database import Database


def build_releasing(settings: Settings, *, database: Database, cells: CellAdmin) -> Releasing:
    records, crash_points = ReleaseLog(database), CrashPoints(settings.crash_file)
    substrate, source, switch_overs = substrate_of(settings), _source_of(settings), switch_overs_of(settings, cells)
    return Releasing(
        database=database,
        records=records,
        rollouts=RolloutRun(
            records=records, substrate=substrate, source=source, cells=cells, crash_points=crash_points
        ),
        evacuations=EvacuationRun(
            records=records, substrate=substrate, switch_overs=switch_overs, crash_points=crash_points
        ),
        substrate=substrate,
        source=source,
        switch_overs=switch_overs,
        lease_lasts=timedelta(seconds=settings.release_lease_s),
    )


def substrate_of(settings: Settings) -> Substrate:
    match settings.releases_by:
        case "local":
            if settings.local_socket is None:
                raise ValueError("the settings let no local substrate pass without its socket")
            return LocalSubstrate(settings.local_socket)
        case "kubernetes":
            # Its client costs a second to import and is an extra: only who needs it pays.
            from control_plane.releaser.kubernetes_substrate import open_kubernetes  # noqa: PLC0415

            return open_kubernetes(settings.kubernetes_config, namespace=settings.cell_namespace)
        case _:
            return NoSubstrate()


def switch_overs_of(settings: Settings, cells: CellAdmin) -> SwitchOvers:
    match settings.releases_by:
        case "local":
            if settings.local_socket is None:
                raise ValueError("the settings let no local switch-overs pass without their socket")
            return LocalSwitchOvers(settings.local_socket)
        case "kubernetes":
            from control_plane.releaser.kubernetes_switch_overs import open_switch_overs  # noqa: PLC0415 - as above

            return open_switch_overs(settings.kubernetes_config, namespace=settings.cell_namespace, cells=cells)
        case _:
            return NoSwitchOvers()


def _source_of(settings: Settings) -> FiguresSource:
    client = admin_client()
    return PrometheusFigures(client, settings.prometheus_url) if settings.prometheus_url else ScrapedFigures(client)

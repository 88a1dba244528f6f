"""`cellwallet down`: asks the platform of a data folder to stop in order, and waits for it."""

import os
import signal
import time
from typing import Annotated

import typer

from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, err, fail, print_json
from cellwallet.commands.terminal import DataFolder as DataOption
from cellwallet.local.folder import DataFolder
from cellwallet.local.processes import ProcessIdentity, is_running

app = typer.Typer(add_completion=False)

POLL_S = 0.1


@app.command()
def down(
    *,
    data: DataOption = DATA_DEFAULT,
    timeout_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Stop the platform that runs with this data folder; the data stays."""
    folder = DataFolder(data)
    holder = folder.holder()
    if holder is not None:
        os.kill(holder.pid, signal.SIGTERM)
        _wait_for_end(folder, holder, timeout_s=timeout_s)
    if as_json:
        print_json({"stopped": holder is not None, "data": str(folder.path)})
    else:
        err().print("stopped" if holder else f"no platform runs with data folder {folder.path}", highlight=False)


def _wait_for_end(folder: DataFolder, holder: ProcessIdentity, *, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    with err().status("stopping") as status:
        while is_running(holder):
            if time.monotonic() > deadline:
                fail(
                    f"pid {holder.pid} still stops after {timeout_s:.0f} s: {', '.join(folder.recorded_and_running())}"
                )
            status.update(f"waiting for {', '.join(folder.recorded_and_running()) or 'the supervisor'}")
            time.sleep(POLL_S)

"""`cellwallet rollouts start|list|show|watch|pause|resume|cancel|roll-back`: releases that go through cells in waves.

The control plane carries orders out; a verb that is interrupted loses nothing but its view.
"""

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cellwallet.commands.operators import Operator, Reached, watch
from cellwallet.commands.tables import print_table
from cellwallet.commands.terminal import DATA_DEFAULT, AsJson, DataFolder, err, fail, out, print_json
from cellwallet.local.control import PlatformMustRunError, request
from cellwallet.local.folder import DataFolder as Folder

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Releases that go through the cells in waves.")

PAGE_MAX = 500

RolloutArgument = Annotated[str, typer.Argument(metavar="ROLLOUT_ID")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Only order it.")]


Label = Annotated[str, typer.Option("--label", help="What people call the release.", metavar="VERSION")]
Image = Annotated[
    str | None, typer.Option(metavar="NAME@sha256:...", help="What is to run, where a cluster runs the cells.")
]
Python = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The interpreter with which cells of this machine are to run.")
]
Code = Annotated[
    list[Path] | None, typer.Option(metavar="DIR", help="Folder of code that goes before what is installed there.")
]
Setting = Annotated[list[str] | None, typer.Option(metavar="CELL_NAME=TEXT", help="A setting of the release.")]
Schema = Annotated[
    str | None, typer.Option(metavar="REVISION", help="The newest revision of the schema that it brings.")
]
RollsBackTo = Annotated[
    str | None, typer.Option(metavar="REVISION", help="The oldest revision whose code works with that schema.")
]
Canary = Annotated[
    str | None, typer.Option(metavar="CELL", help="Goes first.", show_default="the one with the fewest units")
]
Sandbox = Annotated[
    str | None, typer.Option(metavar="CELL", help="Goes before the canary: a cell of synthetic traffic.")
]
Window = Annotated[float | None, typer.Option(metavar="S", help="Seconds of one look at a wave.")]
Windows = Annotated[int | None, typer.Option(metavar="N", help="Good windows that let a wave pass.")]
RequestsMin = Annotated[
    int | None, typer.Option(metavar="N", help="Requests of a cell in a window that say something.")
]
P99Max = Annotated[float | None, typer.Option(metavar="MS", help="Slower is not healthy.")]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="What the release was measured to carry.")]
WithoutCertificate = Annotated[
    bool, typer.Option("--without-certificate", help="Although cells are certified and the release is not.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the waves and order nothing.")]
RolloutId = Annotated[str | None, typer.Option(help="The same id again is the same order.", show_default="new")]


@app.command()
def start(
    *,
    label: Label,
    image: Image = None,
    python: Python = None,
    code: Code = None,
    setting: Setting = None,
    schema: Schema = None,
    rolls_back_to: RollsBackTo = None,
    canary: Canary = None,
    sandbox: Sandbox = None,
    window: Window = None,
    windows: Windows = None,
    requests_min: RequestsMin = None,
    p99_ms_max: P99Max = None,
    certificate: Certificate = None,
    without_certificate: WithoutCertificate = False,
    dry_run: DryRun = False,
    rollout_id: RolloutId = None,
    no_wait: NoWait = False,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """Bring a release to every cell, wave by wave; what does not prove well goes back to what it ran."""
    if (image is None) == (python is None and not code and not setting):
        raise typer.BadParameter("name --image, or what runs here: --python, --code, --setting")
    operator = Operator(data)
    described = image or _described(data, label, python=python, code=code or [], settings=setting or [])
    judged_by = {
        "window_s": window,
        "windows_good": windows,
        "requests_min": requests_min,
        "p99_ms_max": p99_ms_max,
    }
    wanted = {
        "release": {"label": label, "image": described, "schema_revision": schema, "rolls_back_to": rolls_back_to},
        "canary": canary,
        "sandbox": sandbox,
        "judged_by": {name: number for name, number in judged_by.items() if number is not None},
        "certificate": None if certificate is None else _document(certificate),
        "without_certificate": without_certificate,
        "dry_run": dry_run,
        "rollout_id": rollout_id or str(uuid.uuid4()),
    }
    rollout = operator.post("/v1/rollouts", wanted)
    if dry_run:
        _tell_waves(rollout, as_json=as_json)
    else:
        _end(operator, rollout, no_wait=no_wait, as_json=as_json)


@app.command("list")
def list_rollouts(
    *,
    limit: Annotated[int, typer.Option(min=1, max=PAGE_MAX)] = 50,
    data: DataFolder = DATA_DEFAULT,
    as_json: AsJson = False,
) -> None:
    """List rollouts, the newest first."""
    rollouts = Operator(data).get(f"/v1/rollouts?limit={limit}")["rollouts"]
    if as_json:
        print_json({"rollouts": rollouts})
    elif rollouts:
        print_table(_table(rollouts))
    else:
        out().print("no rollouts")


@app.command()
def show(rollout_id: RolloutArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Everything about one: its cells, its latest steps, how each window was judged and by which numbers."""
    operator, path = Operator(data), f"/v1/rollouts/{_id(rollout_id)}"
    rollout = operator.get(path)
    windows = operator.get(f"{path}/windows")["windows"]
    if as_json:
        print_json({**rollout, "windows": windows})
        return
    _tell(rollout, as_json=False)
    processes = Table("cell", "zone", "wave", "state", "ran before")
    for one in rollout["processes"]:
        wave = rollout["waves"][one["wave"]]["name"]
        processes.add_row(one["cell"], one["zone"], wave, one["state"], _short(one["previous_image"]))
    print_table(processes)
    if windows:
        judged = Table("wave", "until", "verdict", "because", title="judgements, the latest first")
        for one in windows:
            judged.add_row(rollout["waves"][one["wave"]]["name"], one["ended_at"], one["verdict"], one["detail"])
        print_table(judged)


@app.command("watch")
def watch_rollout(rollout_id: RolloutArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Follow a rollout until it has ended; exit code 1 unless every cell runs the release."""
    operator = Operator(data)
    _end(operator, operator.get(f"/v1/rollouts/{_id(rollout_id)}"), no_wait=False, as_json=as_json)


@app.command()
def pause(rollout_id: RolloutArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Change nothing further; what is being replaced comes to its end."""
    _tell(Operator(data).post(f"/v1/rollouts/{_id(rollout_id)}/pause"), as_json=as_json)


@app.command()
def resume(rollout_id: RolloutArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Go on."""
    _tell(Operator(data).post(f"/v1/rollouts/{_id(rollout_id)}/resume"), as_json=as_json)


@app.command()
def cancel(rollout_id: RolloutArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Stop it: the wave in hand goes back to what it ran, waves that were judged good stay."""
    _tell(Operator(data).post(f"/v1/rollouts/{_id(rollout_id)}/cancel"), as_json=as_json)


@app.command("roll-back")
def roll_back(rollout_id: RolloutArgument, *, data: DataFolder = DATA_DEFAULT, as_json: AsJson = False) -> None:
    """Take it back: every cell goes back to what it ran, the last wave first."""
    _tell(Operator(data).post(f"/v1/rollouts/{_id(rollout_id)}/roll_back"), as_json=as_json)


def _described(data: Path, label: str, *, python: Path | None, code: list[Path], settings: list[str]) -> str:
    """Have the platform of this machine keep a description of the release; its image."""
    release: dict[str, Any] = {"label": label, "settings": _settings(settings)}
    try:
        own = _asked(data, "own_release")["release"]
    except PlatformMustRunError as error:
        fail(str(error))
    if python is None:
        release |= {"python": own["python"], "code": [*(str(one.resolve()) for one in code), *own["code"]]}
    else:
        # The interpreter as it is named: a link of a virtual environment is what makes it one.
        release |= {"python": str(python.absolute()), "code": [str(one.resolve()) for one in code]}
    image: str = _asked(data, "add_release", release=release)["image"]
    return image


def _asked(data: Path, verb: str, **arguments: Any) -> dict[str, Any]:
    answer = request(Folder(data).control_socket, verb, **arguments)
    if "error" in answer:
        fail(answer["error"])
    return answer


def _settings(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if any(not is_there for _, is_there, _ in pairs):
        raise typer.BadParameter("a setting is CELL_NAME=TEXT")
    return {name: text for name, _, text in pairs}


def _document(file: Path) -> Any:

    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"{file} is no certificate: {error}")


def _id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise typer.BadParameter(f"{text} is no id of a rollout") from None


def _end(operator: Operator, rollout: dict[str, Any], *, no_wait: bool, as_json: bool) -> None:
    if not no_wait:
        path = f"/v1/rollouts/{rollout['rollout_id']}"
        watch(rollout["label"], lambda: _reached(operator.try_to_get(path)))
        rollout = operator.get(path)
    _tell(rollout, as_json=as_json)
    if not no_wait and rollout["state"] != "done":
        raise typer.Exit(1)


def _reached(rollout: dict[str, Any] | None) -> Reached | None:
    if rollout is None:
        return None
    return Reached(
        done=rollout["deployments_done"],
        total=rollout["deployments"],
        is_over=rollout["ended_at"] is not None,
        note=_note(rollout),
    )


def _note(rollout: dict[str, Any]) -> str:
    wave = rollout["waves"][rollout["wave"]]["name"]
    baked = f"{rollout['windows_good']} of {rollout['judged_by']['windows_good']} windows good"
    bad = f", {rollout['windows_bad']} bad" if rollout["windows_bad"] else ""
    doing = {
        "baking": f"{wave}: {baked}{bad}",
        "rolling_back": f"goes back: {rollout['detail'] or ''}",
    }.get(rollout["state"], f"{wave}: {rollout['state']}")
    return doing if rollout["waiting_reason"] is None else f"{doing}; {rollout['waiting_detail']}"


def _tell(rollout: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(rollout)
        return
    print_table(_table([rollout]))
    if rollout["reason"]:
        out().print(f"{rollout['reason']}: {rollout['detail']}", highlight=False, markup=False)
    if rollout["waiting_reason"]:
        out().print(f"waits: {rollout['waiting_reason']}: {rollout['waiting_detail']}", highlight=False, markup=False)


def _tell_waves(rollout: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(rollout)
        return
    table = Table("wave", "cells")
    for wave in rollout["waves"]:
        table.add_row(wave["name"], ", ".join(wave["cells"]))
    print_table(table)
    err().print("nothing was ordered", highlight=False)


def _table(rollouts: list[dict[str, Any]]) -> Table:
    table = Table("rollout", "release", "state", "wave")
    for column in ("done", "of"):
        table.add_column(column, justify="right")
    table.add_column("why")
    for one in rollouts:
        state = f"{one['state']}, paused" if one["is_paused"] else one["state"]
        wave = one["waves"][one["wave"]]["name"]
        counts = (str(one["deployments_done"]), str(one["deployments"]))
        table.add_row(one["rollout_id"], one["label"], state, wave, *counts, one["reason"] or "")
    return table


def _short(image: str) -> str:
    """As much of the digest as people compare."""
    name, _, digest = image.partition("@sha256:")
    return f"{name}@{digest[:12]}"

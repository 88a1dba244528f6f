"""Pictures of figures: the one place that knows the plotting library, which is an extra (`cellwallet[plots]`).

Draws to files without a display and without global state; nothing is imported before somebody wants a picture.
"""

import importlib.util
import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Figure  # noqa: PLC0414 - for others
else:
    Figure = object

DOTS_PER_INCH = 130


class PlotsMustBeInstalledError(Exception):
    """The library for pictures is missing; the message says how to get it."""


def require() -> None:
    """Told before the work, and not after it.

    Raises:
        PlotsMustBeInstalledError: the extra is not there.

    """
    if importlib.util.find_spec("matplotlib") is None:
        raise PlotsMustBeInstalledError("pictures need matplotlib: pip install 'cellwallet[plots]'")


def blank(*, width_in: float, height_in: float) -> "Figure":
    require()
    from matplotlib.figure import Figure as RealFigure  # noqa: PLC0415 - an extra, and slow to import

    return RealFigure(figsize=(width_in, height_in), layout="constrained")


def save(figure: "Figure", file: Path) -> None:
    """As PNG, by rename: nobody reads half a picture."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    draft = file.with_name(f"{file.name}.new")
    draft.write_bytes(content.getvalue())
    draft.rename(file)

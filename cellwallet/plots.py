"""Pictures of figures: the one place that knows the plotting library, which is an extra (`cellwallet[plots]`).

Draws to files without a display and without global state; nothing is imported before somebody wants a picture. Every
picture of the project has its colours and its size from here.
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
SMALL_DOTS_PER_INCH = 80
SMALL_COLOURS_MAX = 128
"""A picture that is committed has a palette: a third of the bytes, and no difference to the eye."""

OURS, OTHERS, NEUTRAL, FAINT = "#5e81ac", "#b48ead", "#4c566a", "#d8dee9"
GOOD, WARM, BAD = "#a3be8c", "#d08770", "#bf616a"


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


def save(figure: "Figure", file: Path, *, is_small: bool = False) -> None:
    """As PNG, by rename: nobody reads half a picture. `is_small`: of few bytes, to be committed."""
    content = io.BytesIO()
    dots = SMALL_DOTS_PER_INCH if is_small else DOTS_PER_INCH
    figure.savefig(content, format="png", dpi=dots, metadata={"Software": None})
    draft = file.with_name(f"{file.name}.new")
    draft.write_bytes(_with_palette(content) if is_small else content.getvalue())
    draft.rename(file)


def _with_palette(content: io.BytesIO) -> bytes:
    from PIL import Image  # noqa: PLC0415 - the plotting library brings it

    smaller = io.BytesIO()
    with Image.open(content) as image:
        image.convert("RGB").quantize(SMALL_COLOURS_MAX).save(smaller, format="png", optimize=True)
    return smaller.getvalue()

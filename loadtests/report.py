"""`python -m loadtests.report`: renders docs/PERFORMANCE.md and its pictures from build/bench.json; no figure is typed
by hand. What that run did not measure may come from others (`--also`): each target is judged by one run.
With `--again` the page holds the run against a second one of the same; with `--against` nothing is written, and it is
told in which ratios two runs differ. Documents may be compressed with gzip.

Exit codes: 0 written, or the runs agree; 1 they do not; 2 usage, or no such run.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cellwallet.plots import PlotsMustBeInstalledError
from loadtests.agreement import DIFFERENCE_MAX, RunsMustCompareError, compared, only_in_one
from loadtests.bench import OUT
from loadtests.figures import FORM
from loadtests.joining import joined
from loadtests.machine import ROOT
from loadtests.page import PICTURES, render
from loadtests.pictures import draw_pictures
from loadtests.targets import judged_again

PAGE = ROOT / "docs" / "PERFORMANCE.md"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.report", description=__doc__)
    parser.add_argument("--run", type=_document, default=str(OUT), metavar="FILE", help="the document of a run")
    parser.add_argument(
        "--also",
        type=_document,
        action="append",
        default=[],
        metavar="FILE",
        help="for targets that no run before it has",
    )
    parser.add_argument("--out", type=Path, default=PAGE, help="the page; its pictures go into a folder next to it")
    parser.add_argument("--again", type=_document, metavar="OTHER", help="show how far OTHER says the same")
    parser.add_argument("--against", type=_document, metavar="OTHER", help="compare its ratios with those of OTHER")
    asked = parser.parse_args(arguments)
    if asked.against is not None:
        return _compare(asked.run, asked.against)
    runs = (asked.run, *asked.also)
    try:
        page = render(*runs, again=asked.again)
        draw_pictures(joined(*runs), asked.out.parent / PICTURES, is_small=True)
    except (RunsMustCompareError, PlotsMustBeInstalledError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    asked.out.write_text(page)
    print(f"written: {asked.out}")
    return 0


def _document(file: str) -> dict[str, Any]:
    try:
        content = Path(file).read_bytes()
        document = json.loads(gzip.decompress(content) if file.endswith(".gz") else content)
    except (OSError, EOFError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{file}: {error}") from error
    if not isinstance(document, dict) or document.get("form") != FORM:
        raise argparse.ArgumentTypeError(f"{file} is no document of a run in form {FORM}")
    return judged_again(document)


def _compare(document: dict[str, Any], other: dict[str, Any]) -> int:
    try:
        ratios = compared(document, other)
    except RunsMustCompareError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for one in ratios:
        verdict = "agrees" if one.agrees else "DIFFERS"
        print(f"{verdict:<8} {one.name}: {one.ratio:g} and {one.other:g}, {one.apart} apart")
    for name in only_in_one(document, other):
        print(f"in one   {name}: not compared")
    differing = sum(not one.agrees for one in ratios)
    print(f"{differing} of {len(ratios)} ratios differ by more than {DIFFERENCE_MAX:.0%}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

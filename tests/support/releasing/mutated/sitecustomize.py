"""Takes one protection away from a control plane that was started with this folder on its path, and only then."""

import os
import sys
from pathlib import Path

if "RELEASE_MUTANT" in os.environ and sys.orig_argv[-2:] == ["control_plane", "serve"]:
    sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[4])]
    from releasing.mutants import MUTANTS

    MUTANTS[os.environ["RELEASE_MUTANT"]]()

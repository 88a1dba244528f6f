"""Takes one protection away from the cells of a platform that was started with this folder on its path, and only then.

The platform starts its programs itself; Python looks for this module before it runs one of them.
"""

import os
import sys
from pathlib import Path

if "CRASH_MATRIX_MUTANT" in os.environ and sys.orig_argv[-2:] == ["cell", "serve"]:
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from crash_matrix.mutants import MUTANTS

    MUTANTS[os.environ["CRASH_MATRIX_MUTANT"]]()

"""Starts a program of the platform with one protection taken away: MUTANT MODULE ARGUMENT...

A program of its own, so that no mutant is within reach of the code that people run.
"""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.mutants import MUTANTS, SAGA_MUTANTS
from faults.pair_mutants import PAIR_MUTANTS

if __name__ == "__main__":
    _, mutant, *sys.argv = sys.argv
    (MUTANTS | SAGA_MUTANTS | PAIR_MUTANTS)[mutant]()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

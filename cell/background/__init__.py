"""Loops of a cell: timer and nudge, no input, idempotent rounds. Losing a holder costs one period."""

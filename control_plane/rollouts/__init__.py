"""Rollouts as pure rules: waves, gates, the judgement of a bake, the way back. Knows nobody's I/O and no clock."""

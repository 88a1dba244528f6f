"""Rollouts in tests: a model of one, and a machine of stand-ins that real control planes bring releases to."""

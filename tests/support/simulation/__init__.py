"""The whole fleet in one process, under one seeded scheduler. What is real and what is modelled: docs/simulation.md."""

"""The audit over the fleet: every cell's own verdict, and what only a look at all cells can show."""

"""What a stack is made of, as Pulumi sees it: each component registers what was planned, and decides nothing."""

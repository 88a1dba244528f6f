"""Load tests and benchmarks: what a cell does per second, at which latency and cost, and that no money was lost."""

"""Benchmarks: the whole job against other implementations, its latency and recovery, and the cost of its steps."""

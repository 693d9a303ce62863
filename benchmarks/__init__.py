"""Measurements: the whole job beside other ways to do it, its latency and recovery, and what its steps cost."""

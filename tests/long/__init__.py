"""Tests that run only in `make test-long` and CI."""

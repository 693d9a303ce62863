"""What must hold but need not run each time: `make test-long`, and CI."""

"""A pipeline for one test: topics, database, recovery store, and the real command run on them."""

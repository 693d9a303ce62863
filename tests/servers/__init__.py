"""A real Kafka and a real Postgres, without Docker: for tests, and for development (`make servers`)."""

"""Real servers without Docker: Kafka, Postgres and Chromium for tests, Kafka and Postgres for `make servers`."""

"""Event-time state by key, for any stream: batches, watermarks, deadlines, key groups, and their Bytewax operators.

Holds: the code behind `chillflow.operators`. It is independent of taxis and Kafka.
May import: errors.
"""

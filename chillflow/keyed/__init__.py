"""Event-time state by key, for any stream: batches, watermarks, deadlines, key groups, and their Bytewax operators.

Holds: what `chillflow.operators` makes public. It knows nothing of taxis, Kafka or the other rooms.
May import: errors.
"""

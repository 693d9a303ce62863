"""Trips to events: source rows become trips, trips become events, in event-time order, at a pace or in disorder.

Holds: the two sources of trips (Parquet files and the trips table), TLC's columns, trip_keys, splitting, the replay and
its Bytewax source, disorder, and `TripEventProducer`.
May import: errors, settings, telemetry, model, connectors.
"""

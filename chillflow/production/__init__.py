"""Trips to events: source rows become frames of trips, then frames of events in event-time order, then messages.

Holds: the two sources of trips (Parquet files and the trips table), TLC's columns, trip_keys, splitting, the replay at
full speed, at a pace or in disorder, its Bytewax source, and `TripEventProducer`.
May import: errors, settings, telemetry, model, connectors.
"""

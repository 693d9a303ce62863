"""Trips to events: source rows become trips, trips become events, in event-time order, at a pace or in disorder.

Holds: TLC's columns, splitting, the replay and its Bytewax source, input files, and `TripEventProducer`.
May import: errors, settings, model, connectors.
"""

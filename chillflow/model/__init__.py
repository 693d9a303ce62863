"""The data model: trips, events, messages, topics, window measures and table rows, and their bytes on the wire.

Holds: definitions and pure mappings between them. No state, no clients, no dataflow.
May import: errors, settings, keyed.
"""

"""Jobs: what commands and the dashboard do, as typed functions with typed results.

Holds: assemble, produce, load, reset, dead letters, following a topic, status, doctor. Nothing here parses options or
prints.
May import: errors, settings, telemetry, model, assembly, connectors, production, running, dataflows.
"""

"""Jobs: the work of commands and the dashboard, as typed functions with typed results.

Holds: assemble, produce, load, set up, reset, dead letters, following a topic, status, doctor. No job parses options
or prints.
May import: errors, settings, telemetry, model, assembly, connectors, production, running, dataflows.
"""

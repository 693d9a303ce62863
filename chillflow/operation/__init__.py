"""Jobs: the work of the commands and the dashboard, as typed functions with typed results.

Holds: assemble, produce, load, set up, reset, dead letters, following a topic, status, doctor. Jobs parse no options
and print nothing.
May import: errors, settings, telemetry, keyed, model, assembly, connectors, production, running, dataflows.
"""

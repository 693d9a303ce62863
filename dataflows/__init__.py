"""The two dataflows: `produce` turns trips into events, `assemble` turns events into trips and windows.

Holds: the pipelines, and how settings choose their sources and sinks. A module reads like the pipeline it describes.
May import: errors, settings, operators, telemetry, model, assembly, connectors, production, running.
"""

"""Running a dataflow in this process: signals, the recovery directory, metrics and health over HTTP.

Holds: everything a run needs around its dataflow, which it receives and knows nothing about.
May import: errors, settings, telemetry, keyed, connectors.
"""

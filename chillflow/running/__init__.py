"""Running a dataflow in this process: signals, the recovery directory, metrics and health over HTTP.

Holds: everything a run needs around its dataflow. It is handed the dataflow and does not know which one it is.
May import: errors, settings, telemetry, keyed, connectors.
"""

"""The two dataflows: `produce` makes events of trips, `assemble` makes trips and windows of events."""

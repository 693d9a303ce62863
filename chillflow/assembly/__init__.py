"""Events to trips, trips to windows, and both to messages and rows.

Holds: the rules of assembly, trip states and their codec, windows, the account and `TripAssembler`. All but the Bytewax
operator in `live_windows` and the reader of the account's file is free of I/O; no clients.
May import: errors, keyed, model.
"""

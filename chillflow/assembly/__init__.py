"""Events to trips, trips to windows, and both to messages and rows.

Holds: the rules of assembly, the windows, the account and `TripAssembler`. Pure, but for the Bytewax operator in
`live_windows`; clients and servers are out of reach.
May import: errors, keyed, model.
"""

"""Generated taxi trips in TLC's schema.

Holds: the generator and its tables of zones, fares and hours. The same seed makes the same trips.
May import: model.
"""

"""Generated taxi trips in TLC's schema.

Holds: the generator and its tables of zones, fares and hours. The same seed gives the same trips.
May import: model.
"""

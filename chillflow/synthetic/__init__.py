"""Invented trips that look like New York's, and the disorder in which their events may be sent."""

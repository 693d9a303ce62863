"""Running dataflows, in this process or in several, and stopping them in good order."""

"""What `assemble` tells of itself: metrics, health, and where both are served."""

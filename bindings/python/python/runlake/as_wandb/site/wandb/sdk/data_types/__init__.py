"""Objects that can be logged."""

"""Bases of objects that can be logged."""

"""Data sets: read, checked, cached, and drawn."""

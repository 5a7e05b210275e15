"""Finished runs: their folders, numbers, comparison, and the paper's claims."""

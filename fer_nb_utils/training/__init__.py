"""From data and settings to a finished run."""

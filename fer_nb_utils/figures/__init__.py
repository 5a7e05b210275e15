"""Every figure, from tables and predictions alone."""

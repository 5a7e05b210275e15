"""Every figure that notebooks share, from data, tables and predictions: each function returns it and writes nothing."""

"""The notebooks: run, shown, reported, kept up to date."""

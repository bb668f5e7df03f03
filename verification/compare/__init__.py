"""What is laid beside an original: its config.json."""

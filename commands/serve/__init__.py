"""`llorch-run serve`: the command, the served model's identity, and the log."""

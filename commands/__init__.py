"""The front door: the commands, and nothing that a library room could do."""

"""Writes to the database: recording, names, policies, merging, pruning."""

"""How records become rows: recording, names, merging, pruning."""

"""What an architecture file is written in: rules, keys, operations, conditions and derived values."""

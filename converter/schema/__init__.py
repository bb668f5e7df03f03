"""The language of architecture files: rules, keys, operations, conditions and derived values."""

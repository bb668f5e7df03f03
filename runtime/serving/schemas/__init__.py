"""What clients may send, field by field with its bounds: one module for each kind of client."""

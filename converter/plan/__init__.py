"""Every output tensor, key and type of a conversion, decided before a byte is written."""

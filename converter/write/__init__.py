"""From source bytes to a published folder: read, dequantize, operate, round, hash, write."""

"""The matrix: every model of a folder run on every device from every format, and the pages about it."""

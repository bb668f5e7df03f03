"""The matrix: every model of a folder, run on each device from each format, and the pages made of it."""

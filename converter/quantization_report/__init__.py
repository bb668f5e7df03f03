"""The quantization report as one self-contained HTML page."""

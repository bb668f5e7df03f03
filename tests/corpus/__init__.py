"""193 malformed GGUF files, one defect each, and 7 that must load; the same bytes on every run.

Every file is one defect away from `tests.models.tiny.tiny_llama`; all are below 64 KiB or sparse.
"""

"""GGUF files: header, metadata, tensor table, split sets and tensor bytes."""

"""GGUF model files to Hugging Face safetensors folders: exact, recorded, and proven right."""

from llorch.base.version import __version__

__all__ = ["__version__"]

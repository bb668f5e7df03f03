"""The registry's inputs and answers, as plain dataclasses."""

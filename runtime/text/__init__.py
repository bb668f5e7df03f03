"""Text around the model: encoding prompts, and decoding tokens as they are generated."""

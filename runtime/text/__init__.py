"""Text before and after the model: prompts, and text as it comes."""

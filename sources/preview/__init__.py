"""Preview of a model from its headers, before it is downloaded."""

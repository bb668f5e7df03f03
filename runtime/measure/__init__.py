"""How far two readings are apart, and how well a model predicts a text."""

"""What a model's headers say before it is fetched."""

"""What the registry is given and what it answers, as plain records."""

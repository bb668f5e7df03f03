"""What a user means by a reference, and which files of a repository belong to it."""

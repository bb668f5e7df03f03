"""Parsing a user's reference, and selecting the files of a repository that it refers to."""

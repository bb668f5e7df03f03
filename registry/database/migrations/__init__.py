"""The schema's revisions, oldest first; a registry is brought from any of them to the newest."""

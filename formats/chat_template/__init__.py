"""Chat templates: rendered in a sandbox, in a process of their own."""

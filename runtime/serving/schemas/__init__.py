"""The schemas of requests, with bounds on their fields: one module per kind of client."""

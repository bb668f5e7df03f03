"""HTTP transport: connections and their limits, authentication, bodies, event streams."""

"""HTTP itself: connections and their bounds, who is let in, bodies, streams of events."""

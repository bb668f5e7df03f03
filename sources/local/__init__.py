"""Where fetched files go: staging, proof, destination."""

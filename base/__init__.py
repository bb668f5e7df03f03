"""Small shared facts and tools: errors, digests, times, locks, the version. Imports nothing else of llorch."""

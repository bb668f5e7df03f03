"""What is recorded of an artifact in the formats of others: SLSA provenance, CycloneDX, a model card.

A document is made of what was recorded and nothing else: no clock, no host, no path of a machine, no version of the
program that writes it. The same record gives the same bytes, on any database.
"""

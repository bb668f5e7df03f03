"""Export of an artifact's records in other formats: SLSA provenance, CycloneDX, SPDX, a model card.

A document contains only what was recorded: no current time, host, local path, or version of the exporting program. The
same records give the same bytes, from any database.
"""

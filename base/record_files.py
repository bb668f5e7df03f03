"""Names of the files in a converted folder that record how it was made."""

RECORD = "conversion.json"
PROVENANCE = "provenance.intoto.json"

"""The files in which a converted folder says how it was made, by their names."""

RECORD = "conversion.json"
PROVENANCE = "provenance.intoto.json"

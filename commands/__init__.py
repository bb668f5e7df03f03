"""The commands: parsing of the command line, output and exit codes; the work itself is done by the other rooms."""

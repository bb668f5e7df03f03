"""Loaded by the commands of a frame as they start: whatever was made is `now`, however slow the machine is."""

from llorch.commands.cli import tables

tables.AGES = ()

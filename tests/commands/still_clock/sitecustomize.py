"""Loaded by the commands of a frame when they start: every age is shown as `now`, however slow the machine is."""

from llorch.commands.cli import tables

tables.AGES = ()

"""`python -m llorch.commands.convert`: the command in a process of its own."""

from llorch.commands.convert.command import main

main()

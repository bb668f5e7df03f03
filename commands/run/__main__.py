"""`python -m llorch.commands.run`: the command in a process of its own."""

from llorch.commands.run.command import main

main()

"""`python -m llorch.commands.batch`: the command in a process of its own."""

from llorch.commands.batch.command import main

main()

"""`python -m llorch.commands.fetch`: the command in a process of its own."""

from llorch.commands.fetch.command import main

main()

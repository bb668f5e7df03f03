"""`python -m llorch.commands.registry`: the command in a process of its own."""

from llorch.commands.registry.command import main

main()

"""`python -m llorch`: the command `llorch`, where no program of that name was installed."""

from __future__ import annotations

from llorch.commands.llorch import NAME, main

if __name__ == "__main__":
    main(prog_name=NAME)

"""Products on the processor: machine code that LLVM makes on the user's machine, from a description of each type."""

"""CPU kernels: LLVM compiles them on the user's machine, from a description of each tensor type."""

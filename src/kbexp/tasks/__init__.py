"""Tasks and where they come from: bundled, a file, KernelBench."""

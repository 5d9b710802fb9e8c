"""What runs in OpenEvolve's process: the package itself, and its way to the search."""

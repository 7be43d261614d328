"""A network's graph: clones, rewrites, channel dependencies, blocks."""

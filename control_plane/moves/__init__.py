"""Live moves as pure rules: the life of a move, what to do next, when a fence may be taken. Knows nobody's I/O."""

"""How a capacity certificate is made: the highest rate that a cell keeps its promises at, whole and degraded."""

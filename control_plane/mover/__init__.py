"""The mover: acts on what control_plane/moves decides, one call to one cell at a time. Holds nothing authoritative."""

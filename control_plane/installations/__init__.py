"""Pure: what a cell's processes are installed as, and what is refused before anything of it is applied."""

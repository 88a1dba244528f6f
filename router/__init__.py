"""The router: looks a wallet up in the map, passes its request to the cell that owns it, and knows no rule of money."""

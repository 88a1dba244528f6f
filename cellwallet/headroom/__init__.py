"""How much a fleet may be given, and how much of everything it needs. Pure, but for the picture.

`cells.py` and `tier.py` are the formulas, `fleet.py` puts them together, `picture.py` draws what came out. Knows no
running platform: every number comes in as an argument and carries its unit in its name.
"""

"""Events, the pure part: which entries come next, for whom, in which words, and when to try again.

Imports the standard library and `contract` only; reading, sending and clocks are in cell/background and cell/store.
"""

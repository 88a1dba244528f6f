"""The rules of money, pure: given what is stored and a command, what happens.

Knows no SQL, HTTP, clock or randomness: instants, salts and ids come in as arguments. `decide` is the heart.
"""

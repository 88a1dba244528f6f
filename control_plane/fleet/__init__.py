"""The rules of a fleet, pure: what a cell may become, who owns which unit, what is to be done next and why not more.

Imports the standard library and `contract`. Time, keys and whatever was observed come in as arguments.
"""

"""What crosses a process boundary, and nothing else.

Ids, the slot function, the directory and configuration documents, bodies and answers of the HTTP contract, reasons
and problem documents, the canonical form of an entry. No I/O, no clock, no randomness: those come in as arguments.
"""

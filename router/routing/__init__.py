"""PURE rules of routing: the map, what may replace it, request heads, health, whom to ask, when to ask again.

No asyncio, clock, randomness or sockets. Instants are seconds of one monotonic clock and come in as arguments.
"""

"""The platform on one machine: embedded PostgreSQL, keys, ports, and the supervisor of all processes.

Knows how processes are started, watched and ended, and nothing of money, wallets or routing.
"""

"""The verbs of the command line, one module each; a module is imported only when its verb is used.

A verb's module has `app = typer.Typer(add_completion=False)`. One command in it makes a plain verb
(`cellwallet up`); several, or a callback, make a group (`cellwallet tokens issue`). A new verb is a module here and a
line in `VERBS`.
"""

VERBS: dict[str, str] = {
    "up": "cellwallet.commands.up",
    "down": "cellwallet.commands.down",
    "status": "cellwallet.commands.status",
    "tokens": "cellwallet.commands.tokens",
    "keys": "cellwallet.commands.keys",
    "cells": "cellwallet.commands.cells",
    "moves": "cellwallet.commands.moves",
    "rebalance": "cellwallet.commands.rebalance",
    "directory": "cellwallet.commands.directory",
    "rollouts": "cellwallet.commands.rollouts",
    "evacuate": "cellwallet.commands.evacuate",
    "evacuations": "cellwallet.commands.evacuations",
    "demo": "cellwallet.commands.demo",
    "wallets": "cellwallet.commands.wallets",
    "limits": "cellwallet.commands.limits",
    "webhooks": "cellwallet.commands.webhooks",
    "replay": "cellwallet.commands.replay",
    "audit": "cellwallet.commands.audit",
    "backup": "cellwallet.commands.backup",
    "restore": "cellwallet.commands.restore",
    "headroom": "cellwallet.commands.headroom",
    "simulate": "cellwallet.commands.simulate",
    "loadtest": "cellwallet.commands.loadtest",
    "version": "cellwallet.commands.version",
}
"""Verb to module, in the order of the help."""

"""The slot function and the numbering of units.

`slot_of` is the same function in PostgreSQL 18 (`crc32(text::bytea) % 16384`) and in HAProxy (`crc32(),mod(16384)`);
a golden-vector test keeps it so. Never hash straight to cells: a slot moves, a hash does not.
"""

import zlib
from typing import NewType

from contract.ids import WalletId

SLOTS = 16_384
ISOLATED_UNIT_FIRST = 65_536
"""Units from here on hold exactly one hot wallet each; their numbers are never used again."""
ISOLATED_UNITS_MAX = 4_096

Unit = NewType("Unit", int)


def slot_of(wallet_id: WalletId) -> Unit:
    return Unit(zlib.crc32(wallet_id.encode()) % SLOTS)

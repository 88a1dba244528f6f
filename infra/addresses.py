"""Which addresses each zone has in a network: pure, and the same for a zone whatever zones are added after it."""

import ipaddress
from collections.abc import Sequence

from contract.values import value

PRIVATE_PREFIX, PUBLIC_PREFIX = 20, 24
PUBLIC_FIRST = 240
"""The last sixteenth of a /16 is public: 16 networks of 256 addresses. Private ones are the first, of 4,096 each."""


@value
class ZoneAddresses:
    private: str
    public: str


def zone_addresses(address_range: str, zones: Sequence[str]) -> dict[str, ZoneAddresses]:
    """By the place of a zone in the list, so zones are only ever added at its end."""
    whole = ipaddress.IPv4Network(address_range)
    private = list(whole.subnets(new_prefix=PRIVATE_PREFIX))
    public = list(whole.subnets(new_prefix=PUBLIC_PREFIX))[PUBLIC_FIRST:]
    return {
        zone: ZoneAddresses(private=str(private[place]), public=str(public[place])) for place, zone in enumerate(zones)
    }

"""Where a call comes from: read from X-Forwarded-For as far as it can be believed, and grouped for the rate limit."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

IPV6_NETWORK_BITS = 64  # what one customer of a provider has, at least
UNKNOWN = "unknown"
LONGEST = 110  # characters of an IPv6 address with its zone and a port; what is longer is none


class _Read(NamedTuple):
    address: str
    window: str


_NONE = _Read("", UNKNOWN)


def client_address(forwarded: str, proxies: int) -> str:
    """The address that the farthest of so many trusted proxies saw; empty when it is not known.

    Each proxy adds an entry at the end; whatever stands before the trusted ones' own was sent by the caller. Where
    there are fewer entries, all of them are the proxies', and the first is the farthest. 0: nobody is trusted.
    """
    entries = forwarded.split(",")
    if proxies == 0:
        return ""
    return _read(entries[max(0, len(entries) - proxies)].strip()).address


def window_of(address: str) -> str:
    """Whose calls count together: an IPv4 address, an IPv6 /64, or all whose address is not known."""
    return _read(address).window


def _read(entry: str) -> _Read:
    return _parsed(entry) if len(entry) <= LONGEST else _NONE


@lru_cache(maxsize=4096)
def _parsed(entry: str) -> _Read:
    """`198.51.100.7`, `198.51.100.7:80`, `2001:db8::1` or `[2001:db8::1]:443`; IPv4 in IPv6 is IPv4."""
    if entry.startswith("[") and "]" in entry:
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        address = ip_address(entry)
    except ValueError:
        return _NONE
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return _Read(str(address), str(address))
    network = IPv6Address(int(address) >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS)
    return _Read(str(address), f"{network}/{IPV6_NETWORK_BITS}")

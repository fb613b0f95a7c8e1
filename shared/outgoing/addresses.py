"""Which addresses the app may call for a tenant: public ones only, as IANA's registries of special ones have it.

Written out, because what Python's `ipaddress` holds for global differs from version to version.
"""

from collections.abc import Set
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Allowed = Set[tuple[str, int]]
"""Addresses and ports that are called although they are not public, and without TLS."""

HTTPS = 443
_NOT_PUBLIC = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services in every virtual network
        "169.254.0.0/16",  # link-local, and the metadata service
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
        "2001::/23",  # protocols, Teredo among them: it carries an IPv4 address
        "2001:db8::/32",
        "2002::/16",  # 6to4: it carries an IPv4 address
        "3fff::/20",
    )
)
# All other IPv6 is special: loopback, mapped, NAT64, site-local, unique local, link-local, multicast.
_GLOBAL_UNICAST = ip_network("2000::/3")


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be called there; an address of one interface only (`%eth0`) is not."""
    if address.version == 6 and (address not in _GLOBAL_UNICAST or address.scope_id is not None):
        return False
    return not any(address in network for network in _NOT_PUBLIC if network.version == address.version)


def is_callable(address: str, port: int, allowed: Allowed) -> bool:
    """Whether a connection to an address, as a resolver writes it, may be opened."""
    try:
        return (address, port) in allowed or is_public(ip_address(address))
    except ValueError:
        return False


def wrong_with(url: str, allowed: Allowed = frozenset()) -> str | None:
    """What is wrong with an address to be called, in words that follow its name; None: nothing that can be seen in it.

    What a name stands for is looked at each time it is called (shared/outgoing/transport.py).
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL"
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return "has characters that no URL has; write a name that is not ASCII as xn--…"
    if parts.username is not None or parts.password is not None:
        return "holds a user or a password; a key has a field of its own"
    if parts.scheme not in ("https", "http"):
        return "is no https address"
    return wrong_with_host(parts.scheme, host, port, allowed)


def wrong_with_host(scheme: str, host: str, port: int | None, allowed: Allowed) -> str | None:
    """The same of a URL's parts; `port` None: the scheme's own."""
    if port is None:
        port = HTTPS if scheme == "https" else 80
    if (host, port) in allowed:
        return None
    if scheme != "https":
        return "is no https address"
    name = host.lower().removesuffix(".")
    try:
        return None if is_public(ip_address(name)) else "is not a public address"
    except ValueError:
        last = name.rpartition(".")[2]
    if last.isdigit() or last.startswith("0x"):  # a number as old resolvers read it: 127.1, 0x7f000001
        return "is not an address as it is usually written"
    if "." not in name or name.endswith((".localhost", ".local", ".internal")):
        return "is a name of a private network"
    return None

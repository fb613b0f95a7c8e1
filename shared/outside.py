"""What the settings say of the outside: private addresses that may be called all the same, the platform's own AI."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

AZURE_HOST = ip_address("168.63.129.16")
_SECRET = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,78}[a-z0-9])?\Z")


def allowed_from(text: str) -> frozenset[tuple[str, int]]:
    """`127.0.0.1:8931, [::1]:8931` as addresses and ports; ValueError, naming the one that is neither."""
    found = set()
    for one in listed(text):
        host, _, port = one.rpartition(":")
        try:
            address = ip_address(host.removeprefix("[").removesuffix("]"))
            if not port.isdecimal() or not port.isascii() or not 0 < int(port) < 65536:
                raise ValueError(port)
        except ValueError:
            raise ValueError(f"{one!r} is no address and port") from None
        if address.is_link_local or address == AZURE_HOST:
            raise ValueError(f"{one!r} is where the app's own identity is given out")
        found.add((str(address), int(port)))
    return frozenset(found)


def listed(text: str) -> list[str]:
    """The parts of a comma-separated text."""
    return [one.strip() for one in text.split(",") if one.strip()]


def wrong_outside(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What is wrong with these settings: the name, and what it is."""
    wrong = []
    try:
        allowed_from(known.get("flowgrid_outgoing_allowed", ""))
    except ValueError as error:
        wrong.append(("FLOWGRID_OUTGOING_ALLOWED", str(error)))
    return wrong + _ai(known)


def _ai(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """What the settings of the platform's AI need of each other."""
    wire, base_url = known.get("flowgrid_ai_wire", ""), known.get("flowgrid_ai_base_url", "")
    secret = known.get("flowgrid_ai_key_secret", "")
    wrong = []
    if base_url and not _is_address(base_url):
        wrong.append(("FLOWGRID_AI_BASE_URL", f"{base_url!r} is no address"))
    if secret and not _SECRET.match(secret):
        wrong.append(("FLOWGRID_AI_KEY_SECRET", "not the name of a secret (a-z, 0-9 and -)"))
    if not wire:
        return wrong
    if not listed(known.get("flowgrid_ai_models", "")):
        wrong.append(("FLOWGRID_AI_MODELS", "missing"))
    if wire == "azure_openai" and not base_url:
        wrong.append(("FLOWGRID_AI_BASE_URL", "missing"))
    if wire != "azure_openai" and not secret:
        wrong.append(("FLOWGRID_AI_KEY_SECRET", "missing"))
    return wrong


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.username is None

"""What the settings say of the outside: private addresses that may be called, the platform's own AI, telemetry."""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from shared.emulators import LOCAL

AZURE_HOST = ip_address("168.63.129.16")
_AUTHENTICATION = re.compile(r"Authorization=AAD(?:;ClientId=([0-9a-fA-F-]{36}))?;?")
_INSTRUMENTATION_KEY = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
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
    return wrong + _ai(known) + _telemetry(known)


def client_id(authentication_string: str) -> str | None:
    """The id of the identity that it names, "" for the app's only one; None: none is needed. ValueError for others."""
    if not authentication_string:
        return None
    found = _AUTHENTICATION.fullmatch(authentication_string)
    if found is None:
        raise ValueError(authentication_string)
    return found[1] or ""


def is_receiver(url: str) -> bool:
    """Whether telemetry may be sent there: over TLS, or to this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOCAL))


def _telemetry(known: Mapping[str, str]) -> list[tuple[str, str]]:
    """Its values are not told: the key lets everybody write into what operators read."""
    connection, wrong = known.get("applicationinsights_connection_string", ""), []
    parts = dict(part.strip().lower().partition("=")[::2] for part in connection.split(";"))
    if connection and not _INSTRUMENTATION_KEY.match(parts.get("instrumentationkey", "")):
        wrong.append(("APPLICATIONINSIGHTS_CONNECTION_STRING", "no InstrumentationKey"))
    if connection and not is_receiver(parts.get("ingestionendpoint", "")):
        wrong.append(("APPLICATIONINSIGHTS_CONNECTION_STRING", "no https IngestionEndpoint"))
    try:
        client_id(known.get("applicationinsights_authentication_string", ""))
    except ValueError:
        wrong.append(("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "not of that form"))
    return wrong


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

"""What is on this machine: emulators, whose connection strings hold a key, so that they are for nothing else."""

from urllib.parse import urlsplit

LOCAL = ("localhost", "127.0.0.1", "::1")


def is_emulator(connection: str) -> bool:
    """Whether a connection string has one endpoint, and that one is on this machine."""
    parts = [part.partition("=") for part in connection.split(";")]
    endpoints = [value for name, _, value in parts if name.strip().lower() == "endpoint"]
    try:
        return len(endpoints) == 1 and urlsplit(endpoints[0].strip()).hostname in LOCAL
    except ValueError:  # half of an IPv6 address
        return False


def is_local(url: str) -> bool:
    """Whether the address is this machine's."""
    try:
        return urlsplit(url).hostname in LOCAL
    except ValueError:
        return False

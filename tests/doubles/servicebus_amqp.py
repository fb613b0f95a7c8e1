"""The little of AMQP 1.0's encoding that the double reads itself: where a batch's messages are (part 1, §1.2).

A Service Bus batch (message format 0x80013700) is one transfer whose data sections each hold an encoded message;
Proton does not show the format, so a transfer is taken for a batch when all its data sections look like messages.
"""

import struct

DATA = 0x75
SECTIONS = range(0x70, 0x79)
_FIXED = {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}  # high half of a constructor -> width of its value


def unbatched(raw: bytes) -> list[bytes]:
    """The encoded messages in a transfer: its own, or those of a batch."""
    parts = _data_sections(raw)
    return parts if parts and all(_is_message(part) for part in parts) else [raw]


def _data_sections(raw: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(raw):
        code, start = _descriptor(raw, at)
        at = _after(raw, start)
        if code == DATA:
            found.append(_binary(raw, start))
    return found


def _descriptor(raw: bytes, at: int) -> tuple[int, int]:
    """A section's code, and where its value begins (the descriptor is a smallulong or a ulong)."""
    if raw[at + 1] == 0x53:
        return raw[at + 2], at + 3
    return raw[at + 9], at + 10


def _after(raw: bytes, at: int) -> int:
    """The offset behind the value at `at`."""
    constructor = raw[at]
    kind = constructor >> 4
    if constructor == 0:
        return _after(raw, _after(raw, at + 1))
    if kind in _FIXED:
        return at + 1 + _FIXED[kind]
    if kind in (0xA, 0xC, 0xE):
        return at + 2 + raw[at + 1]
    return at + 5 + int(struct.unpack_from(">I", raw, at + 1)[0])


def _binary(raw: bytes, at: int) -> bytes:
    if raw[at] == 0xA0:
        return raw[at + 2 : at + 2 + raw[at + 1]]
    return raw[at + 5 : at + 5 + int(struct.unpack_from(">I", raw, at + 1)[0])]


def _is_message(part: bytes) -> bool:
    return len(part) > 10 and part[0] == 0 and part[1] in (0x53, 0x80) and _descriptor(part, 0)[0] in SECTIONS

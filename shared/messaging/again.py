"""Sending a message again, later, so that the delivery that it came in can be completed.

A delivery that fails is given back whole, at once and without a pause (`TriggerAndCompleteMessagesInternal` in
`ServiceBusListener.cs` of the extension): ten of those, in a second or two, and its healthy messages are dead as well.
"""

import re
from datetime import timedelta

from shared.ids import derived_id
from shared.messaging.port import Message

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 900.0
LONGEST_BASE = 100  # an id has 128 characters at most
LONGEST_HOLD = timedelta(days=1)  # of what is due later: then it is held again
_RESENT = re.compile(r"(.*):resent:([0-9]{1,9})", re.DOTALL)  # with more digits it is none of ours
_HELD = re.compile(r"(.*):held:[0-9]{1,9}", re.DOTALL)


def attempts(message: Message) -> int:
    """How often the message has been sent again: its id says so."""
    return _parts(message)[1]


def again(message: Message) -> Message:
    """The message as it is sent the next time.

    Under an id of its own, as the queue would drop the old one; made of the old one, so that a delivery that comes once
    more after that (its worker died before it was completed) adds no second one.
    """
    base, count = _parts(message)
    if len(base) > LONGEST_BASE:
        base = derived_id("again", base)
    return message._replace(id=f"{base}:resent:{count + 1}")


def held(message: Message, due_in: timedelta) -> Message:
    """The message as it is sent to come when it is due, or in a day: that is none of its attempts."""
    base = _parts(message)[0]
    if len(base) > LONGEST_BASE:
        base = derived_id("again", base)
    return message._replace(id=f"{base}:held:{-(-due_in // LONGEST_HOLD)}")


def pause(attempts: int, *, at_least: float = 0.0) -> timedelta:
    """Until it is sent: 5 seconds, doubling, at most a quarter of an hour."""
    seconds = FIRST_PAUSE_SECONDS * 2.0 ** min(attempts, 16)
    return timedelta(seconds=min(LONGEST_PAUSE_SECONDS, max(seconds, at_least)))


def _parts(message: Message) -> tuple[str, int]:
    if ":" not in message.id:  # as most
        return message.id, 0
    held = _HELD.fullmatch(message.id)
    id = held[1] if held else message.id
    found = _RESENT.fullmatch(id)
    return (found[1], int(found[2])) if found else (id, 0)

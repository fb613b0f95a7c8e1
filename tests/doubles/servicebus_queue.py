"""One queue of the Service Bus double: peek-lock, delivery counts, duplicates, schedules, dead letters."""

import tests.doubles.proton_here  # noqa: F401 - skips what needs Proton where it is not

# isort: split
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from zlib import crc32

from proton import Message, symbol, timestamp

from shared.messaging.queues import DUPLICATES_REMEMBERED, MAX_DELIVERIES

LOCK_SECONDS = 30.0
REGROUPED_OVER = 100
SCHEDULED = symbol("x-opt-scheduled-enqueue-time")


@dataclass
class Entry:
    """A message in a queue; `due` and `locked_until` in seconds since 1970, `place` in the order of delivery."""

    message: Message
    sequence: int
    due: float
    enqueued: float
    deliveries: int = 0
    locked_until: float = 0.0
    place: int = 0

    def encoded(self) -> bytes:
        """As a receiver gets it: with the broker's annotations, and how often it was delivered before."""
        message = self.message
        message.annotations = {
            **(message.annotations or {}),
            symbol("x-opt-sequence-number"): self.sequence,
            symbol("x-opt-enqueued-time"): timestamp(int(self.enqueued * 1000)),
            symbol("x-opt-locked-until"): timestamp(int(self.locked_until * 1000)),
        }
        message.delivery_count = self.deliveries
        return bytes(message.encode())


class Queue:
    def __init__(self, name: str, lock_seconds: float, now: Callable[[], float]) -> None:
        self.name = name
        self.lock_seconds = lock_seconds
        self.now = now
        self.waiting: list[Entry] = []
        self.locked: dict[uuid.UUID, Entry] = {}
        self.dead: list[tuple[Entry, str, str]] = []
        self.partitioned = False
        self._sequence = count(1)
        self._seen: dict[str, float] = {}

    def put(self, raw: bytes) -> int | None:
        """Take a message, unless one of its id was taken in the last ten minutes; its sequence number."""
        message = Message()
        message.decode(raw)
        message.inferred = True  # a data section stays a data section
        now = self.now()
        if message.id is not None:
            if now - self._seen.get(str(message.id), float("-inf")) < DUPLICATES_REMEMBERED.total_seconds():
                return None
            self._seen[str(message.id)] = now
        due = (message.annotations or {}).get(SCHEDULED)
        entry = Entry(message, next(self._sequence), now if due is None else int(due) / 1000, now)
        entry.place = entry.sequence
        self.waiting.append(entry)
        return entry.sequence

    def cancel(self, sequence: int) -> bool:
        """Forget a message that is not due yet; whether there was one."""
        found = [one for one in self.waiting if one.sequence == sequence and one.due > self.now()]
        for entry in found:
            self.waiting.remove(entry)
        return bool(found)

    def take(self) -> tuple[uuid.UUID, Entry] | None:
        """Lock the next message that is due, for a receiver."""
        now = self.now()
        due = [entry for entry in self.waiting if entry.due <= now]
        if not due:
            return None
        entry = min(due, key=lambda entry: (entry.place, entry.sequence))
        self.waiting.remove(entry)
        token = uuid.uuid4()
        entry.locked_until = now + self.lock_seconds
        self.locked[token] = entry
        return token, entry

    def settle(self, token: uuid.UUID) -> Entry | None:
        """The locked message, unlocked; None when the lock is lost."""
        return self.locked.pop(token, None)

    def give_back(self, entry: Entry) -> None:
        """A failed delivery: once more, or to the dead letters.

        It comes with others than before: a delivery is whatever is there when somebody asks.
        """
        entry.deliveries += 1
        entry.place = entry.sequence + crc32(f"{entry.sequence} {entry.deliveries}".encode()) % REGROUPED_OVER
        if entry.deliveries >= MAX_DELIVERIES:
            self.bury(entry, "MaxDeliveryCountExceeded", "")
        else:
            self.waiting.append(entry)

    def bury(self, entry: Entry, reason: str, description: str) -> None:
        self.dead.append((entry, reason, description))

    def renew(self, token: uuid.UUID) -> float | None:
        """Lock anew; until when, or None when the lock is lost."""
        entry = self.locked.get(token)
        if entry is None:
            return None
        entry.locked_until = self.now() + self.lock_seconds
        return entry.locked_until

    def expire(self, *, all: bool = False) -> None:
        """Give back what has outlived its lock; with `all`, every locked message."""
        now = self.now()
        for token, entry in list(self.locked.items()):
            if all or entry.locked_until <= now:
                del self.locked[token]
                self.give_back(entry)

    def peek(self, since: int, most: int) -> list[Entry]:
        entries = [*self.waiting, *self.locked.values()]
        return sorted((one for one in entries if one.sequence >= since), key=lambda one: one.sequence)[:most]


class DeadLetters(Queue):
    """A queue's dead-letter subqueue, filled from what its queue has buried."""

    def __init__(self, of: Queue) -> None:
        super().__init__(f"{of.name}/$DeadLetterQueue", of.lock_seconds, of.now)
        self._of = of

    def fill(self) -> None:
        for entry, reason, description in self._of.dead:
            entry.message.properties = {
                **(entry.message.properties or {}),
                "DeadLetterReason": reason,
                "DeadLetterErrorDescription": description,
            }
            self.waiting.append(Entry(entry.message, next(self._sequence), 0.0, entry.enqueued))
        self._of.dead.clear()

    def give_back(self, entry: Entry) -> None:
        self.waiting.append(entry)  # a dead letter does not die again

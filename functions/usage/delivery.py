"""A delivery of usage messages: which of them are not done with yet, by their places in it, and what they wait for."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from shared.messaging.again import LONGEST_HOLD, again, attempts, held, pause
from shared.messaging.port import Message

Place = int


class Delivery:
    """`left`: what has to be sent again in the end. Little is kept of a message that has no trouble, as most."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = messages
        self.left = set(range(len(messages)))
        self._attempts: dict[Place, int] = {}
        self._at_least: dict[Place, float] = {}
        self._due_in: dict[Place, timedelta] = {}

    def __iter__(self) -> Iterator[tuple[Place, Message]]:
        """Each once, to be read."""
        for place, message in enumerate(self.messages):
            if count := attempts(message):
                self._attempts[place] = count
            yield place, message

    def done(self, places: Iterable[Place]) -> None:
        """They are stored, dead letters, or sent again."""
        self.left.difference_update(places)

    def hold(self, place: Place, due_in: timedelta) -> None:
        """It lies ahead of the clock, which is no failure."""
        self._due_in[place] = due_in

    def keep(self, places: Iterable[Place], at_least: float) -> None:
        """They failed; they are not sent again for so many seconds."""
        self._at_least.update(dict.fromkeys(places, at_least))

    def attempts(self, place: Place) -> int:
        """How often it has been sent again before."""
        return self._attempts.get(place, 0)

    def has_waited(self, places: Iterable[Place]) -> bool:
        """Whether one of them has been sent again before."""
        return bool(self._attempts) and not self._attempts.keys().isdisjoint(places)

    def again(self, place: Place) -> Message:
        """The message as it is sent again."""
        due_in = self._due_in.get(place)
        return again(self.messages[place]) if due_in is None else held(self.messages[place], due_in)

    def delay(self, place: Place) -> timedelta:
        """After how long that is."""
        due_in = self._due_in.get(place)
        if due_in is None:
            return pause(self.attempts(place), at_least=self._at_least.get(place, 0.0))
        return min(due_in, LONGEST_HOLD)

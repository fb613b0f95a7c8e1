"""What a file may hold in all, counted as it is kept: keys of properties each time that they are given."""

from collections import Counter
from typing import Final

from functions.catalog.exchange import (
    MAX_ITEMS,
    ExchangeTooLarge,
    FoundElement,
    FoundRelationship,
    FoundView,
    ModelHeader,
)
from functions.catalog.exchange_parse import MAX_CHARACTERS
from functions.catalog.exchange_text import spread

MAX_DEFINITIONS: Final = 10_000
MAX_DRAWN: Final = 200_000
MAX_TEXTS: Final = 400_000
SAID: Final = ("label", "documentation")


class Room:
    def __init__(self) -> None:
        self._taken: Counter[str] = Counter()
        self.line = 1

    def take(self, what: str, most: int, count: int = 1) -> None:
        self.hold(what, most, self._taken[what] + count)
        self._taken[what] += count

    def hold(self, what: str, most: int, count: int) -> None:
        if count > most:
            raise ExchangeTooLarge(f"The file holds more than {most:,} {what}; divide the model.", self.line)

    def take_item(self) -> None:
        self.take("items", MAX_ITEMS)

    def take_found(self, found: ModelHeader | FoundElement | FoundRelationship | FoundView) -> None:
        """Its texts; of a view also what it draws."""
        texts = spread(found)
        self.take("texts", MAX_TEXTS, sum(map(len, texts.values())))
        size = sum(len(field) + len(text) for field, values in texts.items() for _, text in values)
        self.take("characters of text", MAX_CHARACTERS, size)
        if isinstance(found, FoundView):
            drawn = len(found.nodes) + sum(1 + len(one["bendpoints"]) for one in found.connections)
            self.take("boxes, lines and bendpoints in views", MAX_DRAWN, drawn)
            said = (text for one in (*found.nodes, *found.connections) for name in SAID for text in one[name])
            self.take("characters of text on boxes and lines", MAX_CHARACTERS, sum(len(one["text"]) for one in said))

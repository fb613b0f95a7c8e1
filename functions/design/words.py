"""Words of a brief and of names: what they are compared by. English, by rules that are simple enough to foresee."""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+(?:'s)?", re.UNICODE)
_BLANKS = re.compile(r"[^\S\n]+")
_SENTENCE = re.compile(  # of a text whose blanks are single: a run of them is looked at once
    r"[.;!?\n]+|(?<=:)\s|,?\s{1,3}and then\s|,?\s{1,3}then\s|\bafterwards?\b", re.IGNORECASE
)
HEADING = ":"  # what a clause ends with that others come under
_PLAIN_TEXT = (
    "a an and any are as at be been before but by can do each every for from has have if in into is it its of on or "
    "our out so some than that the their them then there these they this to up us was we what when where which who "
    "while will with would you your all also always automatically new incoming should must need needs want wants help "
    "please agent agents team ai"
)
_PLAIN = frozenset(_PLAIN_TEXT.split())


def stems(text: str) -> list[str]:
    """The words of a text in lower case, without their plural, the plain ones left out."""
    return [stem(word) for word in words(text) if word not in _PLAIN]


def words(text: str) -> list[str]:
    return [match.removesuffix("'s") for match in _WORD.findall(text.lower())]


def stem(word: str) -> str:
    """`policies` and `policy`, `claims` and `claim`, `handling` and `handle` are the same."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "ches", "shes", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) > 5 and word.endswith("ing"):
        word = word[:-3]
        return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word
    if len(word) > 4 and word.endswith("e"):
        return word[:-1]
    return word


def clauses(brief: str) -> list[str]:
    """The parts of a brief that each say one thing, in their order; a heading keeps its colon."""
    parts = [
        part
        for part in (piece.strip(" ,-") for piece in _SENTENCE.split(_BLANKS.sub(" ", brief)))
        if len(stems(part)) >= 2
    ]
    return [*parts[:-1], *(last.removesuffix(HEADING) for last in parts[-1:])]


def titled(text: str, most: int = 6) -> str:
    """The first telling words of a text, as a name."""
    telling = [word for word in re.findall(r"[^\W_][\w'-]*", text) if word.lower() not in _PLAIN]
    name = " ".join(telling[:most])
    return name[:1].upper() + name[1:]


def key_of(name: str, taken: Iterable[str]) -> str:
    """A key made of a name, unlike those that are taken."""
    base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "one"
    found, number, known = base, 2, {*taken}
    while found in known:
        found, number = f"{base}-{number}", number + 1
    return found

"""URLs of tools: a template with `{argument}` in its path, and what a call makes of it."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit

from functions.tools.port import ToolFailed
from shared.outgoing.addresses import Allowed, wrong_with

MAX_PART = 500  # characters of an argument in a path
_PLACE = re.compile(r"\{([^{}/?#]{1,100})\}")
_STEPS = re.compile(r"[/\\]")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]{1,500}\Z")


def names_in(url: str) -> list[str]:
    """The arguments that the path of a template wants."""
    return _PLACE.findall(url)


def origin_of(url: str) -> tuple[str, str]:
    """Whom a call goes to."""
    parts = urlsplit(_PLACE.sub("x", url))
    return parts.scheme, parts.netloc.lower()


def wrong_with_template(url: str, allowed: Allowed) -> str | None:
    """What is wrong with a template, in words that follow its name; None: nothing."""
    filled = _PLACE.sub("x", url)
    if "{" in filled or "}" in filled:
        return "has a brace that belongs to no {argument}"
    if wrong := wrong_with(filled, allowed):
        return wrong
    parts = urlsplit(url)
    if "{" in parts.scheme + parts.netloc + parts.query:
        return "has an {argument} outside its path; name those of the query in `query`"
    if parts.fragment or url.endswith("#"):
        return "has a fragment, which no server gets to see"
    if any(_steps_out(step) for step in parts.path.split("/")):
        return "has a step of its path that is . or .."
    return None


def filled(url: str, arguments: Mapping[str, Any]) -> str:
    """The URL of a call. `ToolFailed` for an argument that is no part of a path: it must not lead elsewhere."""
    made = _PLACE.sub(lambda place: quote(_part(place[1], arguments), safe=""), url)
    if any(_steps_out(step) for step in urlsplit(made).path.split("/")):
        raise ToolFailed("The arguments make a step of the path that is . or ..; that leads elsewhere.")
    return made


def text_of(value: Any) -> str | None:
    """A scalar as URLs have it; None for what is none."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float() | str():
            return str(value)
        case _:
            return None


def _part(name: str, arguments: Mapping[str, Any]) -> str:
    text = text_of(arguments.get(name))
    if text is None or not _PLAIN.match(text):
        raise ToolFailed(f"{name} should be text of 1 to {MAX_PART} characters or a number: it is a part of the path.")
    if any(_steps_out(step) for step in _STEPS.split(text)):
        raise ToolFailed(f"{name} leads to another path; it is one part of it.")
    return text


def _steps_out(step: str) -> bool:
    return step.lower().replace("%2e", ".") in (".", "..")

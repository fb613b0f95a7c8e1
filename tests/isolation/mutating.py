"""Mutations: the app's own source with one thing left out, compiled and put in place of what it was."""

import inspect
import textwrap
from typing import Any

import pytest


def mutate(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *changes: tuple[str, str]) -> None:
    """Replace a function of a module, or a method of a class, by itself with these texts changed.

    Each stands in it exactly once: a mutation of what is no longer there fails, instead of proving nothing.
    """
    held = inspect.getattr_static(owner, name)
    source = textwrap.dedent(inspect.getsource(held))
    for old, new in changes:
        assert source.count(old) == 1, f"{name} has {source.count(old)} times {old!r}: mend the mutation"
        source = source.replace(old, new)
    scope: dict[str, Any] = {}
    exec(compile(source, f"<mutated {name}>", "exec"), held.__globals__, scope)
    monkeypatch.setattr(owner, name, scope[name])

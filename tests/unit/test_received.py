"""What comes out of a queue: read fast where that is possible, and never otherwise than `json` reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.messaging.received import Unread, body_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(body=st.dictionaries(st.text(st.characters(exclude_categories=())), ANYTHING))
@example(body={"half": "\ud800", "two halves": "\ud800\udc00", "half and more": "\ud800A"})
@example(body={"large": 2**70, "none": float("nan"), "endless": float("-inf"), "zero": -0.0})
def test_a_body_is_read_as_json_has_it(body: dict[str, Any]) -> None:
    text = json.dumps(body)
    assert repr(body_of(text.encode())) == repr(json.loads(text))  # repr: NaN is itself, and 1 no 1.0


@given(raw=st.binary(max_size=20) | st.text('{}[]":,0123456789.eE+-truefalsnul\\ud8 ', max_size=20).map(str.encode))
@example(raw=b"\xef\xbb\xbf{}")
@example(raw=b'{"a":1,"a":2}')
@example(raw=b"[" * 100_000)
def test_what_is_no_json_object_is_kept_as_text(raw: bytes) -> None:
    try:
        expected = json.loads(raw)
    except (ValueError, RecursionError):
        expected = None
    if not isinstance(expected, dict):
        expected = {"unreadable": raw.decode(errors="replace")}
    assert repr(body_of(raw)) == repr(expected)


@dataclass
class Counted:
    """A received message that counts how often it is read."""

    message_id: str
    application_properties: Mapping[str, Any] = field(default_factory=lambda: {"tenant_id": "t"})
    read: int = 0

    def get_body(self) -> bytes:
        self.read += 1
        return b'{"n":1}'


@pytest.mark.parametrize("at", [0, 2])
def test_a_message_of_a_delivery_is_read_when_it_is_asked_for(at: int) -> None:
    received = [Counted(f"m-{number}") for number in range(3)]
    unread = Unread(received)
    assert (len(unread), unread[at].id, unread[at].body) == (3, f"m-{at}", {"n": 1})
    assert [one.read for one in received] == [2 if number == at else 0 for number in range(3)]
    assert [message.id for message in unread[1:]] == ["m-1", "m-2"]

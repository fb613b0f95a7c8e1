"""E-mail addresses: one type wherever one is taken, one form wherever one is compared."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from functions.backups.models import RestoredTenant
from functions.identity.models import NewUser
from functions.tenants.models import NewTenant
from shared.auth.emails import Email, canonical

ADDRESS: TypeAdapter[str] = TypeAdapter(Email)
GOOD = ["ada@acme.example", "ada.l+tag@mail.acme.example", "o'neill@acme.example", "a@xn--mnchen-3ya.de", "1@2.3"]
BAD = [
    "",
    "ada",
    "@acme.example",
    "ada@",
    "ada@acme",
    "a@b..c",
    "a..b@acme.example",
    ".ada@acme.example",
    "ada.@acme.example",
    "ada@acme.example.",
    "ada@.acme.example",
    "ada@-acme.example",
    "ada@acme-.example",
    " ada@acme.example",
    "ada@acme.example\n",
    "ada@acme.example\u200b",
    "\uff41da@acme.example",
    "\u0430da@acme.example",
    "ada@m\u00fcnchen.de",
    "ada\uff20acme.example",
    f"{'a' * 65}@acme.example",
    f"a@{'b' * 64}.example",
    f"a@{'b.' * 130}de",
]


@pytest.mark.parametrize("text", GOOD)
def test_an_address_is_taken_and_kept_in_lower_case(text: str) -> None:
    assert (ADDRESS.validate_python(text.upper()), canonical(text.upper())) == (text, text)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused_by_bodies_and_is_none_in_tokens(text: str) -> None:
    with pytest.raises(ValidationError):
        ADDRESS.validate_python(text)
    assert canonical(text) is None


@pytest.mark.parametrize("claim", [None, 7, True, ["ada@acme.example"], {"email": "ada@acme.example"}])
def test_a_claim_that_is_no_text_is_no_address(claim: Any) -> None:
    assert canonical(claim) is None


@given(st.one_of(st.text(), st.emails(), st.from_regex(r"[a-z.@-]{1,30}", fullmatch=True)))
def test_what_a_body_takes_is_what_a_token_brings(text: str) -> None:
    try:
        taken = ADDRESS.validate_python(text)
    except ValidationError:
        taken = None
    assert canonical(text) == taken


@pytest.mark.parametrize("spelling", ["\u212a@acme.example", "\u017fam@acme.example", "ma\u1e9e@acme.example"])
def test_no_other_letters_are_folded_into_an_address(spelling: str) -> None:
    """Kelvin's K, the long s and the capital sharp s become k, s and ss under NFKC or casefold."""
    assert canonical(spelling) is None


def test_every_body_takes_the_one_type() -> None:
    fields: list[tuple[type[BaseModel], str]] = [
        (NewUser, "email"),
        (NewTenant, "admin_email"),
        (RestoredTenant, "admin_email"),
    ]
    schemas = [model.model_json_schema()["properties"][name] for model, name in fields]
    told = [{name: schema[name] for name in ("maxLength", "pattern", "type")} for schema in schemas]
    assert told[0] == told[1] == told[2]

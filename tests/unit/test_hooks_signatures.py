"""Signatures as their makers show them: each example is from the page of whoever signs so."""

from hypothesis import given
from hypothesis import strategies as st

from functions.hooks.models import Style
from functions.hooks.signatures import verified
from tests.unit.hooks_world import SECRETS

AT = 1614265330.0
NAMES = (
    *("webhook-id", "webhook-timestamp", "webhook-signature", "x-hub-signature-256", "x-github-event"),
    *("stripe-signature", "x-signature"),
)
VALUES = ("", "1614265330", "t=1614265330,v1=", "v1,", "v1, v1,", "sha256=", "=", "ping", ",,,", "\u00fc")


def test_the_example_of_standard_webhooks_is_verified() -> None:
    """Signed by its library."""
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,bm90aGluZw== v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    found = verified("standard", [SECRETS["standard"]], headers, b'{"test": 2432232314}', AT)
    assert found is not None and found.id == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_the_example_of_github_is_verified() -> None:
    right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    secrets = ["It's a Secret to Everybody"]
    assert verified("github", secrets, {"x-hub-signature-256": right}, b"Hello, World!", AT) is not None
    assert verified("github", secrets, {"x-hub-signature-256": right[:-1] + "8"}, b"Hello, World!", AT) is None
    assert verified("github", secrets, {"x-hub-signature": right}, b"Hello, World!", AT) is None


@given(
    st.sampled_from(["standard", "github", "stripe", "plain"]),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(VALUES) | st.text("v1,=tesh0 ", max_size=20), max_size=7),
    st.binary(max_size=20),
)
def test_nothing_that_is_made_up_is_verified(style: Style, headers: dict[str, str], body: bytes) -> None:
    assert verified(style, list(SECRETS.values()), headers, body, AT) is None
    assert verified(style, [], headers, body, AT) is None

"""What is tried at every place, or at some of them where a test has to be short."""

import pytest


def some_or_all(every: int) -> pytest.MarkDecorator:
    """Gives a test `every`: at every so many places in `make test`, at each in `make test-exhaustive`."""
    return pytest.mark.parametrize(
        "every", [pytest.param(every, id="some"), pytest.param(1, id="all", marks=pytest.mark.exhaustive)]
    )

"""Waiting for what passes, for a bounded while: commands that write much, here or over the API, end with no hiccup."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx

from cli.api import Api
from cli.errors import CliError
from shared.errors import Unavailable

T = TypeVar("T")
PATIENCE_SECONDS: Final = 600.0
"""For one call that is refused for now, one time after the other."""
AGAIN: Final = (429, 502, 503, 504)
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
pause = asyncio.sleep


async def patiently(call: Callable[[], Awaitable[T]], *, later: str) -> T:
    """The call, again while something is away; CliError, with what to do `later`, when that takes too long."""
    waited = 0.0
    while True:
        try:
            return await call()
        except Unavailable as error:
            seconds = float(error.retry_after or 1)
            waited += seconds
            if waited > PATIENCE_SECONDS:
                raise CliError(f"{error.message} {later}") from error
            await pause(seconds)


async def answered(
    api: Api,
    method: str,
    path: str,
    *,
    later: str,
    final: Callable[[httpx.Response], bool] = lambda answer: False,
    told: Callable[[httpx.Response], str] = lambda answer: answer.text[:300],
    **options: object,
) -> httpx.Response:
    """The answer; the call again after what passes, as `Retry-After` says; CliError as above.

    `final`: what does not pass although its status says so. `told`: what is said of an answer in one line.
    """
    waited, usual = 0.0, FIRST_PAUSE_SECONDS
    while True:
        seconds = usual
        try:
            answer = await api.send(method, path, **options)
        except httpx.TransportError as error:
            said = f"{type(error).__name__}: {error}"
        else:
            if answer.status_code not in AGAIN or final(answer):
                return answer
            asked = answer.headers.get("retry-after", "")
            said, seconds = f"{answer.status_code} {told(answer)}", float(asked) if asked.isdigit() else usual
        waited += seconds
        if waited > PATIENCE_SECONDS:
            raise CliError(f"{method} {path}: {said}. {later}")
        await pause(seconds)
        usual = min(2 * usual, LONGEST_PAUSE_SECONDS)

"""Whether a deployment works: a few calls over the way that clients take, each told in a line."""

import time
from collections.abc import Callable

import httpx

EACH_SECONDS = 30.0
PAUSE_SECONDS = 5.0
IN_A_ROW = 6  # answers of one release: while instances are replaced, old ones answer, too


def run(
    url: str,
    token: str,
    *,
    wait: float,
    expect: str = "",
    tell: Callable[[str], None] = print,
    sleep: Callable[[float], None] = time.sleep,
    transport: httpx.BaseTransport | None = None,
) -> bool:
    """`url`: of the API, with /api. A new app is waited for; True when all is well.

    `expect`: the commit that it has to be packaged of; empty: any.
    """
    base = url.rstrip("/")
    with httpx.Client(base_url=base, timeout=EACH_SECONDS, trust_env=False, transport=transport) as http:
        if not _up(http, wait, expect, sleep):
            of = f" by {expect} alone" if expect else ""
            tell(f"no  GET health/live: no answer{of} within {wait:g} s")
            return False
        asked: list[tuple[str, dict[str, str], int, str]] = [
            ("health", {}, 200, '"checks"'),
            ("openapi.json", {}, 200, '"openapi"'),
            ("v1/me", {}, 401, '"unauthenticated"'),
        ]
        if token:
            asked.append(("v1/me", {"Authorization": f"Bearer {token}"}, 200, '"role"'))
        return all([_well(http, *one, tell) for one in asked])  # each is told, also after a bad one


def _up(http: httpx.Client, wait: float, expect: str, sleep: Callable[[float], None]) -> bool:
    wanted, in_a_row = IN_A_ROW if expect else 1, 0
    for _ in range(int(wait // PAUSE_SECONDS) + 1):
        in_a_row = in_a_row + 1 if _answers(http, expect) else 0
        if in_a_row == wanted:
            return True
        sleep(PAUSE_SECONDS)
    return False


def _answers(http: httpx.Client, expect: str) -> bool:
    try:
        answer = http.get("health/live")
        return answer.status_code == 200 and (not expect or answer.json().get("commit") == expect)
    except (httpx.TransportError, ValueError):
        return False  # nobody is there yet, or somebody else


def _well(
    http: httpx.Client, path: str, headers: dict[str, str], status: int, has: str, tell: Callable[[str], None]
) -> bool:
    who = "with a token" if headers else "without a token"
    try:
        answer = http.get(path, headers=headers)
    except httpx.TransportError as error:
        tell(f"no  GET {path} {who}: {type(error).__name__}")
        return False
    ok = answer.status_code == status and has in answer.text
    tell(f"{'yes' if ok else 'no '} GET {path} {who}: {answer.status_code}")
    return ok

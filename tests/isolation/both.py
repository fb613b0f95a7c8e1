"""What shows only where both tenants are at work: two calls at once, figures, and windows of calls."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from shared.auth.roles import Role
from tests.isolation.cases import Stage, own_body, path_params
from tests.isolation.expected import EXPECTED, FIGURES, RANKS
from tests.isolation.people import Tenant, token
from tests.isolation.prover import Leak
from tests.unit.world import Answer

SPENT = 3  # calls


def gets() -> list[str]:
    """The routes by which a tenant reads what it has."""
    return [key for key, one in EXPECTED.items() if key.startswith("GET ") and one.least in RANKS[1:-1]]


async def at_once(stage: Stage, routes: Iterable[str] | None = None) -> AsyncIterator[Leak | None]:
    """Each GET by attacker and victim at once: each is answered as it is alone."""
    for key in gets() if routes is None else routes:
        alone = [await _asked(stage, key, tenant) for tenant in (stage.home, stage.victim)]
        again = [await _asked(stage, key, tenant) for tenant in (stage.home, stage.victim)]
        both = await asyncio.gather(*(_asked(stage, key, tenant) for tenant in (stage.home, stage.victim)))
        for who, other, first, second, answer in zip(
            ("admin", "the victim"), (stage.victim, stage.home), alone, again, both, strict=True
        ):
            where, shown, known = f"{key} as {who}, at once with the other tenant", _told(answer), _told(first)
            named = {name: canary.encode() for name, canary in other.canaries.items()}
            found = [name for name, canary in named.items() if canary in shown and canary not in known]
            for name in found:
                yield Leak(where, f"the answer holds the other's {name}")
            if answer.status != first.status:
                yield Leak(where, f"{answer.status} where {first.status} is told alone")
            elif answer.raw != first.raw and first.raw == second.raw and not found:
                yield Leak(where, f"is answered otherwise than alone: {answer.raw[:300]!r}")
        yield None


async def figures(stage: Stage, routes: Iterable[str] = FIGURES) -> AsyncIterator[Leak | None]:
    """The attacker's figures move by what it does, and no further when the victim has worked meanwhile."""
    routes = tuple(routes)
    await _all_counted(stage)
    first, second = [await _figures(stage, routes) for _ in range(2)]
    before = await _usage(stage)
    await _work(stage)
    await _all_counted(stage)
    third, after = await _figures(stage, routes), await _usage(stage)
    works = after - before > SPENT and any(second[one] != first[one] for one in second)
    yield None if works else Leak("figures", "are no figures of calls: nothing has moved them")
    for key, name in sorted(first.keys() | second.keys() | third.keys()):
        own, then = (
            second[key, name] - first[key, name],
            third[key, name] - second[key, name],
        )
        what = f"{name} moves by {own}, and by {then} when the victim has worked meanwhile"
        yield Leak(f"{key} as admin, figures", what) if own != then else None


async def windows(stage: Stage) -> AsyncIterator[Leak | None]:
    """Of each window of calls: what the attacker spends, the victim has still."""
    limits = {route.limit: key for key, route in reversed(stage.site.routes.items()) if key.startswith("POST ")}
    for key in {**limits, None: "GET v1/me"}.values():
        stage.site.clock.advance(minutes=1)  # every window begins anew
        before = await _left(stage, key, stage.victim)
        for _ in range(SPENT):
            await _left(stage, key, stage.home)
        after = await _left(stage, key, stage.victim)
        found = Leak(f"{key} as admin, again and again", f"leaves the victim {after} calls of {before - 1}")
        yield found if after != before - 1 else None


async def _asked(stage: Stage, key: str, tenant: Tenant) -> Answer:
    params = path_params(stage, key, tenant.ids)
    headers = {"x-request-id": "same"}
    return await stage.site.call(key, token(stage.site, tenant, Role.ADMIN), params=params, headers=headers)


def _told(answer: Answer) -> bytes:
    return b"\n".join([answer.raw, *(value.encode() for value in answer.headers.values())])


async def _left(stage: Stage, key: str, tenant: Tenant) -> int:
    """How many calls are left to who has made this one."""
    body = own_body(stage, stage.site.routes[key])
    answer = await stage.site.call(key, token(stage.site, tenant, Role.ADMIN), body)
    return int({name.lower(): value for name, value in answer.headers.items()}["ratelimit-remaining"])


async def _figures(stage: Stage, routes: Iterable[str]) -> Counter[tuple[str, str]]:
    """All whole numbers of these answers, those of lists together; and the calls that this took are counted.

    Those of names together as well: the hundred largest are told, so that another one may be `other` by now.
    """
    found = Counter[tuple[str, str]]()
    for key in routes:
        answer = await _asked(stage, key, stage.home)
        for name, number in _numbers(answer.json):
            found[key, name] += number
    await _all_counted(stage)
    return found


def _numbers(told: Any, above: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(told, Mapping):
        for name, value in told.items():
            within = above if above.endswith("dimensions") else f"{above}.{name}" if above else name
            yield from _numbers(value, within)
    elif isinstance(told, list):
        for value in told:
            yield from _numbers(value, above)
    elif type(told) is int:
        yield above, told


async def _usage(stage: Stage) -> int:
    """The victim's calls, as it is told of them."""
    return int((await _asked(stage, "GET v1/usage", stage.victim)).json["total"])


async def _work(stage: Stage) -> None:
    """What moves each figure of the victim's: calls, an element, an agent, a run of it."""
    site, admin = stage.site, token(stage.site, stage.victim, Role.ADMIN)
    await site.ok("POST v1/elements", admin, {"name": "Figure", "type": "BusinessActor"})
    agent = await site.ok("POST v1/agents", admin, {"name": "Figure", "pattern": "Specialist"})
    asked = {"agent_id": agent["id"]}
    await site.ok("POST v1/agents/{agent_id}/executions", admin, {"input": "Count."}, params=asked)
    for _ in range(4 * SPENT):
        await site.ok("GET v1/me", admin)


async def _all_counted(stage: Stage) -> None:
    """Twice: what is worked on is counted as well."""
    for _ in range(2):
        await stage.site.work()

"""`docs/isolation.md`: what happened, route by route and caller by caller. `python -m tests.isolation` writes it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.isolation.expected import CREDENTIALS, EXPECTED
from tests.isolation.prover import Prover
from tests.isolation.staging import stage
from tests.isolation.watch import Watch

PAGE = Path(__file__).parents[2] / "docs" / "isolation.md"
HEAD = """# Isolation

Made by `make pages` from a run of the prover (`tests/isolation`, docs/decisions/0042): every function that the app
lists, by every method, as every caller, with the caller's own ids and with those of another tenant, the victim, in
path, query, body, cursor and idempotency key. After each group of cases all that the victim has, wherever it is kept,
was the same byte by byte; no answer held anything of it. {cases:,} cases on each database adapter, 0 leaks.
Who may be in the victim left there what is its to leave, and nothing else: of staff with a grant each call is an entry
of the victim's own trail, of people by the victim's own issuer an event of its usage. Identity providers that ask where
somebody belongs are told that, and not a word more.

What is in the table has come as it must by the table that is written by hand (`tests/isolation/expected.py`). A second
number after `/` is what came of the victim's ids, wherever they were sent, where that differs from what came of one's
own: in a path 404, in a filter an empty list, in a body, a cursor or a parameter that takes none 400, each in the same
bytes as for an id that never was.

"""


def markdown(prover: Prover) -> str:
    """The page."""
    groups = _groups()
    text = HEAD.format(cases=prover.cases)
    text += "| | who |\n|---|---|\n"
    text += "".join(f"| {name} | {'; '.join(names)} |\n" for name, names in groups.items())
    text += f"\n| route | cases | {' | '.join(groups)} |\n|---|---|{'---|' * len(groups)}\n"
    for key in EXPECTED:
        count = sum(prover.outcomes[key, name].total() for name in CREDENTIALS)
        cells = (_cell(prover, key, names) for names in groups.values())
        text += f"| `{key}` | {count} | {' | '.join(cells)} |\n"
    return text


def _groups() -> dict[str, list[str]]:
    """Credentials with which the same is expected, under one name."""
    found: dict[str, list[str]] = {}
    for name, rank in CREDENTIALS.items():
        title = {401: "no good token", 403: "no user of an open tenant"}.get(rank) if isinstance(rank, int) else rank
        found.setdefault(str(title), []).append(name)
    return found


def _cell(prover: Prover, key: str, names: list[str]) -> str:
    own, foreign = (_statuses(prover, key, names, foreign) for foreign in (False, True))
    return own if foreign in ("", own) else f"{own} / {foreign}" if own else foreign


def _statuses(prover: Prover, key: str, names: list[str], foreign: bool) -> str:
    told: Mapping[tuple[str, str, bool], set[int]] = prover.told
    found = {status for name in names for status in told.get((key, name, foreign), ())}
    return ", ".join(map(str, sorted(found)))


async def _made() -> str:
    with TemporaryDirectory() as folder:
        set_up = await stage(Path(folder) / "data")
        watch = Watch(set_up.site, set_up.victim.id)
        prover = Prover(set_up, watch)
        await prover.prove()
        watch.close()
        await set_up.site.close()
        if prover.leaks:
            raise SystemExit("\n".join(map(str, prover.leaks)))
        return markdown(prover)


def write() -> None:
    PAGE.write_text(asyncio.run(_made()), "utf-8")

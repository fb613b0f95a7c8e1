"""The prover: runs cases, and tells what was not as it must be."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from shared.auth.roles import Role
from shared.ids import PLATFORM_TENANT_ID
from tests.doubles.cosmos_record import Call
from tests.isolation.cases import Case, Stage, batch
from tests.isolation.expected import CREDENTIALS, EXPECTED, LOOKED_UP, RANKS, READS, TOUCHED, TRACES
from tests.isolation.people import Tenant, token
from tests.isolation.watch import Dump, Watch, changed, what
from tests.unit.world import Answer

OF_THE_MOMENT = {"date", "server-timing", "ratelimit-remaining", "ratelimit-reset"}
SHOWS = re.compile(rb'"(items|tasks)":\[(?!\])')
LIMIT = 2000  # leaks that are told
LARGE = 50_000  # bytes
Comparable = tuple[int, bytes, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class Leak:
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class Prover:
    """`outcomes`: by route and credential, how often which status came; `told`: which, to GET, PUT and the like, by
    whether the ids were another's.
    """

    stage: Stage
    watch: Watch
    leaks: list[Leak] = field(default_factory=list)
    outcomes: dict[tuple[str, str], Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    told: dict[tuple[str, str, bool], set[int]] = field(default_factory=lambda: defaultdict(set))
    cases: int = 0
    _clean: set[bytes] = field(default_factory=set)  # large pages, the same for everybody, that hold nothing
    _last: Dump | None = None

    async def prove(
        self,
        routes: Iterable[str] | None = None,
        credentials: Sequence[str] = tuple(CREDENTIALS),
        *,
        every: int = 1,
        always: Collection[str] = (),
    ) -> None:
        """These routes (none named: all of the app's) as these callers.

        `every`: each caller at every so many of them, no two neighbors at the same; those of `always` at all.
        """
        site, last = self.stage.site, list[list[Case]]()
        for place, key in enumerate(EXPECTED if routes is None else routes):
            chosen = [name for at, name in enumerate(credentials) if name in always or (place + at) % every == 0]
            if chosen:
                await self._victim_first(key)
            for name in chosen:
                cases = list(batch(self.stage, site.routes[key], name))
                await self.batch([case for case in cases if not case.leaves])
                last.append([case for case in cases if case.leaves])
        for cases in filter(None, last):
            await self.batch(cases)

    async def _victim_first(self, key: str) -> None:
        """The victim asks what the attacker is going to ask, so that whatever remembers answers has those.

        By filters on SQLite only: on Cosmos DB, where a call takes three times as long, by ids.
        """
        expected, site, victim = EXPECTED[key], self.stage.site, self.stage.victim
        if not key.startswith("GET ") or expected.least not in RANKS[1:-1]:
            return
        for case in batch(self.stage, site.routes[key], "admin"):
            if case.method == "GET" and not (case.query and site.double):
                admin = token(site, victim, Role.ADMIN)
                answer = await site.call(key, admin, params=case.params, query=case.query, headers=case.headers)
                sent = "|".join((*case.params.values(), *case.query.values()))
                asked = replace(case, credential="the victim", sent=sent)
                self._look_through(asked, answer.raw, self.stage.home)
        await site.work("store_usage")  # else each call is a message of the victim's, whenever it is looked at
        self._last = None

    async def batch(self, cases: Sequence[Case]) -> None:
        """Cases of one route and credential; the victim is looked at when they are over, and after each in doubt."""
        before = self._last or self.watch.dump()  # nothing happens between two batches
        await self._run(cases)
        after = self._last = self.watch.dump()
        if not strange(cases, before, after):
            return
        culprits: list[Case] = []
        for case in cases:  # again, one by one
            before_one = self.watch.dump()
            await self._run([case])
            if strange([case], before_one, self.watch.dump()):
                culprits.append(case)
        self._last = None
        named = "; ".join(map(str, culprits)) or f"one of those of {cases[0].route} as {cases[0].credential}"
        self._leak(named, f"the victim's {', '.join(strange(cases, before, after)[:5])} changed")

    async def _run(self, cases: Sequence[Case]) -> None:
        references: dict[tuple[str, str], tuple[Case, Comparable]] = {}
        for case in cases:
            answer = await self._answer(case)
            self.cases += 1
            self.outcomes[case.route, case.credential][answer.status] += 1
            if case.method != "OPTIONS":
                self.told[case.route, case.credential, "own" not in case.where].add(answer.status)
            self._judge(case, answer)
            if case.alike is None:
                continue
            group, found = (case.method, case.alike), comparable(case, answer)
            first, reference = references.setdefault(group, (case, found))
            if found != reference:
                self._leak(str(case), f"is answered otherwise than with {first.where}: {found} and not {reference}")

    async def _answer(self, case: Case) -> Answer:
        credential = self.stage.credentials[case.credential]
        headers = {"x-request-id": "same", **case.headers, **credential.headers}
        double = self.stage.site.double
        if double is not None:
            double.calls.clear()
        answer = await self.stage.site.call(
            case.route,
            credential.token,
            case.body,
            method=case.method,
            params=case.params,
            query=case.query,
            headers=headers,
        )
        if double is not None:
            self._wire(case)
        return answer

    def _judge(self, case: Case, answer: Answer) -> None:
        if answer.status not in case.statuses:
            wanted = " or ".join(map(str, sorted(case.statuses)))
            self._leak(str(case), f"{answer.status} where {wanted} must be: {answer.raw[:300]!r}")
        if case.empty and answer.status == 200 and SHOWS.search(answer.raw):
            self._leak(str(case), "a list that is filtered by what is another's shows something")
        if case.answer is not None and answer.json != case.answer:
            self._leak(str(case), f"is told {answer.raw!r} and not {case.answer}")
        if not case.seen:
            self._look_through(case, b"\n".join(f"{name}: {value}".encode() for name, value in answer.headers.items()))
            if answer.raw not in self._clean:
                found = self._look_through(case, answer.raw)
                if len(answer.raw) > LARGE and not found and not case.sent:
                    self._clean.add(answer.raw)

    def _look_through(self, case: Case, told: bytes, whose: Tenant | None = None) -> bool:
        """Whether it holds anything of the victim's (or of `whose`) beyond what was sent."""
        for sent in filter(None, case.sent.split("|")):
            told = told.replace(sent.encode(), b"")
        of = whose or self.stage.victim
        found = [name for name, canary in of.canaries.items() if canary.encode() in told]
        for name in found:
            self._leak(str(case), f"the answer holds the {'victim' if whose is None else 'attacker'}'s {name}")
        return bool(found)

    def _wire(self, case: Case) -> None:
        """What a customer's call asks of Cosmos DB: of a tenant's containers only with its key, and its name."""
        double = self.stage.site.double
        assert double is not None
        open_to_all = EXPECTED[case.route].least in ("open", "provider")
        if open_to_all or case.credential.startswith("staff") or case.credential in TRACES:
            return
        for call in double.calls:
            if call.container not in ("items", "usage"):
                continue
            if call.partition_key is None:
                self._leak(str(case), f"a {call.operation} of {call.container} names no partition: {call.query}")
            elif call.partition_key == self.stage.victim.id and not _may_read(case, call):
                self._leak(str(case), f"a {call.operation} of {call.container} in the victim's partition")
            owners = (call.partition_key, PLATFORM_TENANT_ID)
            if call.query is not None and not any(value in owners for value in call.parameters.values()):
                self._leak(str(case), f"a query of {call.container} does not name its tenant: {call.query}")

    def _leak(self, where: str, what: str) -> None:
        if len(self.leaks) < LIMIT:
            self.leaks.append(Leak(where, what))


def _may_read(case: Case, call: Call) -> bool:
    """Who names the victim and is refused has been looked for there."""
    refused = isinstance(CREDENTIALS[case.credential], int)
    return refused or (call.operation == "Read" and (case.route, case.where) in LOOKED_UP)


def strange(cases: Sequence[Case], before: Dump, after: Dump) -> list[str]:
    """What has changed of the victim beyond what these calls must leave there; or that they have not left it."""
    if before == after and not any(map(_traces, cases)):
        return []
    wanted, touched = Counter[str](), set[str]()
    for case in cases:
        wanted.update(_traces(case))
        touched |= TOUCHED[case.credential] if _traces(case) else set()
    new = Counter(what(where, after) for where in after.keys() - before.keys())
    held = [where for where in changed(before, after) if where in before]
    if new == wanted and {what(where, before) for where in held} == touched and all(where in after for where in held):
        return []
    return changed(before, after) or [f"trail, where {dict(wanted)} is to be, is not"]


def _traces(case: Case) -> dict[str, int]:
    """How many new items of what this call leaves with the victim."""
    if case.method == "OPTIONS" or EXPECTED[case.route].least in ("open", "staff", "provider"):
        return {}
    left = TRACES.get(case.credential, {})
    return {**left, **READS.get(case.route, {})} if left else {}


def comparable(case: Case, answer: Answer) -> Comparable:
    """All of an answer but what was sent (which it may echo), and what any moment changes."""
    body = answer.raw
    headers = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in OF_THE_MOMENT}
    for sent in filter(None, case.sent.split("|")):
        body = body.replace(sent.encode(), b"<id>")
        headers = {name: value.replace(sent, "<id>") for name, value in headers.items()}
    if case.method == "HEAD":  # its length is that of what it echoes
        headers.pop("content-length", None)
    body = re.sub(rb'"(duration_ms)":[0-9.]+', rb"", body)
    return answer.status, body, tuple(sorted(headers.items()))

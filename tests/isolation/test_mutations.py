"""What the prover is worth: each of these slips, put into the code, is found, and told by the route that it opens."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
import pytest_asyncio

import shared.auth.tokens as tokens
import shared.database.sqlite as sqlite
import shared.database.sqlite_query as sqlite_query
import shared.http.admission as admission
from functions.executions.messages import RunMessages
from functions.platform.consumers import Consumers
from functions.usage.metering import Metering
from shared.blobs.files import FileBlobs
from shared.http.idempotency import Idempotency
from shared.http.pagination import Cursors
from shared.members.members import Members
from shared.secrets.file import FileSecrets
from shared.tenancy.directory import Directory
from tests.isolation import ways
from tests.isolation.cases import Stage
from tests.isolation.credentials import Credential, taken_out
from tests.isolation.mutating import mutate
from tests.isolation.prover import Prover
from tests.isolation.staging import cursors_of, used_keys
from tests.isolation.watch import Watch

LIST, ONE = "GET v1/agents", "GET v1/agents/{agent_id}"


@pytest_asyncio.fixture(loop_scope="module")
async def watch(on_sqlite: Stage) -> AsyncIterator[Watch]:
    own = Watch(on_sqlite.site, on_sqlite.victim.id)
    yield own
    own.close()


async def leaks(stage: Stage, watch: Watch, routes: Sequence[str], *credentials: str) -> str:
    """What the prover tells of these cases, as one text."""
    prover = Prover(stage, watch)
    await prover.prove(routes, credentials)
    return "\n".join(map(str, prover.leaks))


async def test_without_a_mutation_the_same_cases_find_nothing(on_sqlite: Stage, watch: Watch) -> None:
    routes = (LIST, ONE, "POST v1/elements", "GET v1/users", "GET v1/platform/tenants")
    assert await leaks(on_sqlite, watch, routes, "no token", "removed user", "viewer", "user", "admin") == ""


async def test_a_point_read_that_forgets_the_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, sqlite_query, "get", ("WHERE tenant_id = ? AND", "WHERE ? IS NOT NULL AND"))
    assert f"{ONE} as admin, the victim's agent_id: 200 where 404 must be" in await leaks(
        on_sqlite, watch, [ONE], "admin"
    )


async def test_a_query_that_forgets_the_tenant(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, sqlite_query, "select", ('"tenant_id = ?")', '"? IS NOT NULL")'))
    assert f"{LIST} as viewer, own ids: the answer holds the victim's agent_id" in await leaks(
        on_sqlite, watch, [LIST], "viewer"
    )


async def test_an_idempotency_key_without_a_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a cache in front of the store would be, were it keyed by what the caller sends alone."""
    answered: dict[str, object] = {}
    run = Idempotency.run

    async def cached(self: Idempotency, route, req, call, handler):  # type: ignore[no-untyped-def]
        key = req.headers.get("idempotency-key")
        if key is None or route.method != "POST":
            return await run(self, route, req, call, handler)
        if key not in answered:
            answered[key] = await run(self, route, req, call, handler)
        return answered[key]

    monkeypatch.setattr(Idempotency, "run", cached)
    await used_keys(on_sqlite)
    found = await leaks(on_sqlite, watch, ["POST v1/elements"], "admin")
    assert "POST v1/elements as admin, the victim's idempotency key: the answer holds the victim's" in found


async def test_a_directory_that_remembers_one_tenant_for_all(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = on_sqlite.victim.id
    mutate(
        monkeypatch,
        Directory,
        "entry",
        ("self._entries.get(tenant_id)", f"self._entries.get({last!r})"),
    )
    await on_sqlite.site.core.directory.latest(last)
    assert "GET v1/agents as admin" in await leaks(on_sqlite, watch, [LIST], "admin")


async def test_members_that_are_remembered_without_their_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, Members, "_user", ("key = (session.id, ", 'key = ("", '))
    found = await leaks(on_sqlite, watch, [LIST], "admin", "the victim's tenant, oneself")
    assert f"{LIST} as the victim's tenant, oneself, own ids: 200 where 403 must be" in found
    on_sqlite.site.core.members._known.clear()


async def test_a_cursor_that_is_not_bound_to_its_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, Cursors, "_tag", ("[scope, filters]", '[scope.partition(":")[2], filters]'))
    bound = on_sqlite.cursors[LIST]
    again = replace(on_sqlite, cursors=await cursors_of(on_sqlite.site, on_sqlite.victim))
    assert again.cursors[LIST] != bound
    found = await leaks(again, watch, [LIST], "admin")
    assert f"{LIST} as admin, the victim's cursor: 200 where 400 must be" in found


async def test_a_role_that_is_not_checked(on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch, admission, "_with_role", ("not role.includes(route.role)", "False"))
    found = await leaks(on_sqlite, watch, ["GET v1/users"], "viewer")
    assert "GET v1/users as viewer, own ids: 200 where 403 must be" in found


async def test_a_list_of_users_that_does_not_narrow_the_token(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, Members, "admit", ("caller.role, user.role", 'caller.role, "admin"'))
    on_sqlite.site.core.members._known.clear()
    found = await leaks(on_sqlite, watch, ["GET v1/users"], "admin by token, viewer by list")
    assert "GET v1/users as admin by token, viewer by list, own ids: 200 where 403 must be" in found


async def test_a_staff_route_that_customers_call_in_their_own_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, admission, "_tenant_id", ("if route.platform:", "if False:"))
    mutate(monkeypatch, admission, "_with_role", ("not role.includes(route.role)", "False"))
    found = await leaks(on_sqlite, watch, ["GET v1/platform/tenants"], "admin")
    assert "GET v1/platform/tenants as admin, own ids: 200 where 403 must be" in found
    assert "the answer holds the victim's tenant_id" in found


async def test_a_header_that_names_the_tenant_for_anybody(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(
        monkeypatch,
        admission,
        "_tenant_id",
        ('req.headers.get("x-tenant-id") if caller.role is Role.PLATFORM else None', 'req.headers.get("x-tenant-id")'),
    )
    found = await leaks(on_sqlite, watch, [LIST], "admin who names the victim")
    assert f"{LIST} as admin who names the victim, own ids: 403 where 200 must be" in found


async def test_a_tenant_whose_suspension_is_not_checked(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, admission, "_session", ('if entry.status == "suspended":', "if False:"), ("not in (", "in ("))
    names = [f"admin of a {status} tenant" for status in ("suspended", "provisioning", "deleting")]
    found = await leaks(on_sqlite, watch, [LIST], *names)
    for name in names:
        assert f"{LIST} as {name}, own ids: 200 where 403 must be" in found


async def test_a_removed_user_who_is_still_remembered(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, Members, "forget", ("self._forgotten += 1", "return"))
    token = await taken_out(on_sqlite.site, on_sqlite.home)
    caller = {"removed user": Credential("removed user", token, {})}
    again = replace(on_sqlite, credentials={**on_sqlite.credentials, **caller})
    found = await leaks(again, watch, ["GET v1/users"], "removed user")
    assert "GET v1/users as removed user, own ids: 200 where 403 must be" in found


@pytest.mark.parametrize(
    ("left_out", "name"),
    [
        (("audience=issuer.audience,", "audience=None,"), "wrong audience"),
        (('options={"require"', 'options={"verify_exp": False, "verify_aud": False, "require"'), "expired"),
        (('options={"require"', 'options={"verify_nbf": False, "verify_aud": False, "require"'), "not yet valid"),
        (('options={"require"', 'options={"verify_signature": False, "require"'), "signed by another"),
    ],
    ids=["audience", "expiry", "not before", "signature"],
)
async def test_a_token_of_which_something_is_not_checked(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch, left_out: tuple[str, str], name: str
) -> None:
    changes = [left_out]
    if name == "wrong audience":
        changes.append(('options={"require"', 'options={"verify_aud": False, "require"'))
    mutate(monkeypatch, tokens, "opened", *changes)
    found = await leaks(on_sqlite, watch, [LIST], name)
    assert f"{LIST} as {name}, own ids: 200 where 401 must be" in found


async def test_a_path_of_blobs_without_its_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, FileBlobs, "space", (" / checked_tenant(tenant_id)", ""))
    found = [str(leak) async for leak in ways.through_spaces(on_sqlite, watch) if leak]
    assert any(leak.startswith("blobs backups: lists") and on_sqlite.victim.id in leak for leak in found)


async def test_a_space_of_secrets_without_its_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, FileSecrets, "space", (" / checked_tenant(tenant_id)", ""))
    found = [str(leak) async for leak in ways.through_spaces(on_sqlite, watch) if leak]
    assert any(leak.startswith("secrets: ") for leak in found)


async def test_a_tool_of_an_agent_that_reads_without_a_tenant(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch, sqlite_query, "get", ("WHERE tenant_id = ? AND", "WHERE ? IS NOT NULL AND"))
    found = [str(leak) async for leak in ways.through_agents(on_sqlite, watch) if leak]
    assert "a run of catalog tools: was told the victim's description" in found


@pytest.mark.parametrize(
    ("owner", "name", "function", "changes"),
    [
        (Metering, "_work", "store_usage", "usage_block"),
        (Consumers, "_run_job", "run_job", "job"),
        (RunMessages, "_take", "run_execution", "execution"),
    ],
    ids=["usage", "jobs", "runs"],
)
async def test_a_message_that_says_itself_whose_it_is(
    on_sqlite: Stage,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    function: str,
    changes: str,
) -> None:
    calls = {"_work": "by_tenant[{}]", "_run_job": "_jobs.run({}, job_id", "_take": "_runner.advance, {}, str(run)"}
    said, call = 'message.body.get("tenant_id", message.tenant_id)', calls[name]
    mutate(monkeypatch, owner, name, (call.format("message.tenant_id"), call.format(said)))
    found = [str(leak) async for leak in ways.through_queues(on_sqlite, watch) if leak]
    assert all(leak.startswith(f"{function}, a message of {on_sqlite.home.id}") for leak in found)
    assert any(f"/{changes}:" in leak for leak in found)


async def test_an_increment_that_forgets_the_tenant_though_every_answer_is_right(
    on_sqlite: Stage, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last: it has spoiled the victim's counters."""
    mutate(monkeypatch, sqlite, "_apply", ("etag = ? WHERE tenant_id = ?", "etag = ? WHERE ? IS NOT NULL"))
    [found] = (await leaks(on_sqlite, watch, ["POST v1/elements", "POST v1/agents"], "user")).splitlines()
    assert found.startswith("POST v1/agents as user, own ids: the victim's ") and "counter:agents changed" in found

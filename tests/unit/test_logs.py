"""What is logged: why callers are refused; and never who people are, nor what they sign in with."""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
from pydantic import BaseModel

from functions.identity.models import NewUser
from shared.auth.caller import Caller
from shared.auth.roles import Role
from shared.auth.tokens import TokenVerifier
from shared.errors import Unauthenticated, Unavailable
from shared.issuers import Issuer
from shared.jobs.tenant_sweep import TenantSweep
from shared.telemetry import log as lines
from shared.telemetry.log import JsonLines
from shared.work.session import TenantSession
from tests.unit.issuers import KEYS, ONE, Web
from tests.unit.world import AGENT, STAFF, FakeClock, World, admin, person

EMAIL, NAME = "canary.bird+x@acme.example", "Kanarienvogel"
TOKEN = jwt.encode({"iss": ONE, "name": NAME}, KEYS["k1"], "RS256", headers={"kid": "k1"})
CANARIES = [EMAIL, NAME, TOKEN, TOKEN.rpartition(".")[2]]


def canaries(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


def line(message: str = "", error: BaseException | None = None, **extra: Any) -> dict[str, Any]:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.getLogger("flowgrid.test").makeRecord(
        "flowgrid.test", logging.WARNING, __file__, 1, message, (), info, extra=extra
    )
    parsed: dict[str, Any] = json.loads(JsonLines().format(record))
    return parsed


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


# Whom is refused, and why


async def test_every_refused_authentication_is_one_line(world: World, log: pytest.LogCaptureFixture) -> None:
    await world.call("list_agents", headers={"authorization": f"Bearer {TOKEN}"})
    (record,) = [one for one in log.records if one.name == "flowgrid.auth"]
    told = vars(record)
    assert (told["reason"], told["issuer"], told["address"]) == ("invalid", "", "198.51.100.7")


async def test_a_caller_without_a_role_is_one_line_too(world: World, log: pytest.LogCaptureFixture) -> None:
    tenant = (await world.onboard())["id"]
    await world.call("create_agent", person(tenant, Role.VIEWER), AGENT)
    (record,) = [one for one in log.records if one.name == "flowgrid.auth"]
    assert vars(record)["reason"] == "role_needed"


async def test_whom_a_refused_token_speaks_of_is_never_logged(world: World, written: Callable[[], str]) -> None:
    tenant = (await world.onboard())["id"]
    await world.call("list_agents", Caller(NAME, None, None, tenant, None))
    text = written()
    assert ("a caller was refused" in text, tenant in text, canaries(text)) == (True, True, [])


async def test_who_is_let_in_is_no_such_line(world: World, log: pytest.LogCaptureFixture) -> None:
    await world.call("get_me", admin((await world.onboard())["id"]))
    assert [one for one in log.records if one.name == "flowgrid.auth"] == []


def signed(kid: str = "k1", key: str = "k1", algorithm: str = "RS256", **changes: Any) -> str:
    claims = {"iss": ONE, "aud": "flowgrid", "sub": "s-1", "exp": 4102444800, **changes}
    given = {name: value for name, value in claims.items() if value is not None}
    return "Bearer " + jwt.encode(given, KEYS[key], algorithm, headers={"kid": kid})


@pytest.mark.parametrize(
    ("authorization", "reason", "issuer"),
    [
        (None, "no_token", None),
        ("Bearer " + "x" * 20_000, "too_long", None),
        ("Bearer x", "no_jwt", None),
        (signed(algorithm="RS512"), "algorithm", None),
        (signed(iss="https://evil.example"), "unknown_issuer", None),
        (signed(kid="made-up"), "unknown_kid", ONE),
        (signed(key="k2"), "signature", ONE),
        (signed(aud="other"), "audience", ONE),
        (signed(exp=1), "expired", ONE),
        (signed(nbf=4102444700), "not_yet_valid", ONE),
        (signed(sub=None), "missing_claim", ONE),
        (signed(sub=7), "invalid", ONE),
        (signed(tid="acme"), "tenant_claim", None),
    ],
)
async def test_a_refusal_says_which_check_failed_and_whose_token_it_was(
    authorization: str | None, reason: str, issuer: str | None
) -> None:
    issuers = [Issuer(issuer=ONE, audience="flowgrid")]
    verifier = TokenVerifier(issuers, tenant_claim="tid", roles_claim="roles", keys=Web().keys(FakeClock()))
    with pytest.raises(Unauthenticated) as refused:
        await verifier.verify(authorization)
    assert (refused.value.reason, refused.value.issuer) == (reason, issuer)


# What stays out


@pytest.mark.parametrize(
    "text",
    [
        f"user {EMAIL} is gone",
        f"Authorization: Bearer {TOKEN}",
        f"token={TOKEN}",
        f"'{EMAIL}'",
        f"mailto:{EMAIL}?subject=x",
        "SharedAccessKey=c2VjcmV0;EntityPath=x",
    ],
)
def test_what_looks_like_an_address_or_a_credential_is_struck_out(text: str) -> None:
    logged = json.dumps([line(text), line(extra={"deep": [{text: text}]}), line(odd=text)])
    assert (canaries(logged), "c2VjcmV0" in logged) == ([], False)


@pytest.mark.parametrize("text", ["12 @ 5", "a@b", "https://one.example/keys", "@property", "eyJ", "bearer"])
def test_what_only_resembles_one_stays(text: str) -> None:
    assert line(text)["message"] == text


def test_a_very_long_line_is_written_in_no_time() -> None:
    text = "a" * 1_000_000
    assert line(text)["message"] == text


class Person(BaseModel):
    name: int
    email: int


def exceptions() -> list[BaseException]:
    def invalid() -> BaseException:
        try:
            Person.model_validate({"name": NAME, "email": EMAIL})
        except ValueError as error:
            return error
        raise AssertionError

    return [
        invalid(),
        raised(KeyError(NAME)),
        raised(RuntimeError(f"{NAME} <{EMAIL}> {TOKEN}")),
        raised(RuntimeError("later"), raised(ValueError(NAME))),
        raised(ExceptionGroup("several", [ValueError(NAME), KeyError(EMAIL)])),
        raised(UnicodeDecodeError("utf-8", NAME.encode(), 0, 1, NAME)),
        raised(FileNotFoundError(2, "No such file", f"/home/{NAME}")),
        raised(Unavailable(f"The mailbox of {EMAIL} does not answer.")),
    ]


@pytest.mark.parametrize("number", range(8))
def test_an_exception_is_told_by_type_and_place_because_its_words_may_quote_anything(number: int) -> None:
    error = exceptions()[number]
    logged = line("oops", error, reason=error)
    assert canaries(json.dumps(logged)) == []
    assert type(error).__name__ in logged["exception"] and __file__ in logged["exception"]


def test_the_causes_of_an_exception_are_told_and_it_stays_one_line() -> None:
    error = raised(RuntimeError("later"), raised(ValueError("first")))
    record = logging.LogRecord("flowgrid", logging.ERROR, "", 1, "oops", None, (type(error), error, None))
    text = JsonLines().format(record)
    told = json.loads(text)["exception"]
    assert ("\n" in text, told.count("Traceback"), "RuntimeError" in told, "ValueError" in told) == (
        False,
        2,
        True,
        True,
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (sqlite3.OperationalError("disk I/O error"), "disk I/O error"),
        (Unavailable("The broker does not answer."), "The broker does not answer."),
    ],
)
def test_what_the_system_says_of_itself_stays(error: BaseException, words: str) -> None:
    assert words in line("oops", raised(error))["exception"]


async def test_a_main_job_in_which_much_goes_wrong_logs_no_name_no_address_and_no_token(
    world: World, written: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = str((await world.onboard(name=NAME, admin_email=EMAIL, tier="enterprise"))["id"])
    ada = Caller("s-1", EMAIL, NAME, tenant, Role.ADMIN)
    await world.call("create_user", ada, NewUser(email=f"b.{EMAIL}", name=NAME, role="user").model_dump(mode="json"))
    await world.call("create_user", ada, {"email": EMAIL, "name": NAME, "role": "user"})
    await world.call("create_user", ada, {"email": "no address", "name": NAME, "role": NAME})
    await world.call("create_agent", ada, {**AGENT, "name": NAME, "description": f"{EMAIL} {TOKEN}"})
    await world.call("get_me", ada)
    await world.call("list_users", ada, query={"email": EMAIL})
    await world.call("list_agents", headers={"authorization": f"Bearer {TOKEN}", "user-agent": f"{NAME} {EMAIL}"})
    await world.call("list_agents", Caller("s-2", EMAIL, NAME, tenant, None))
    await world.call("onboard_tenant", STAFF, {"name": NAME, "slug": "acme", "admin_email": EMAIL})
    await world.sweep()
    await world.drain()

    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"{NAME} {EMAIL} {TOKEN}")

    async def away(*_: Any, **__: Any) -> None:
        raise Unavailable(f"no answer about {EMAIL}")

    with monkeypatch.context() as patch:
        patch.setattr(world.core.adapters.messaging, "send", away)
        patch.setattr((await world.session(tenant)).store, "commit", away)
        await world.call("create_agent", ada, {**AGENT, "name": NAME})
    with monkeypatch.context() as patch:
        patch.setattr(world.core.directory, "entry", broken)
        assert (await world.call("get_me", ada)).status == 500
    await world.sweep()
    text = written()
    assert ("unexpected error" in text, "a caller was refused" in text, canaries(text)) == (True, True, [])


async def test_what_no_longer_fits_the_model_that_reads_it_is_quoted_by_no_run(
    world: World, written: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a newer release, or a slip of ours, may have stored it: pydantic quotes what it refuses."""
    tenant = str((await world.onboard(tier="enterprise"))["id"])
    agent = (await world.call("create_agent", admin(tenant), AGENT)).json["id"]
    run = (await world.call("create_execution", admin(tenant), {"input": "Hello"}, params={"agent_id": agent})).json

    async def refused(*_: Any, **__: Any) -> Any:
        return Person.model_validate({"name": NAME, "email": EMAIL})

    monkeypatch.setattr("functions.executions.runner.snapshot_of", refused)
    await world.drain()
    text = written()
    assert (run["status"], "a run failed" in text, canaries(text)) == ("queued", True, [])


async def test_what_a_round_does_not_understand_is_quoted_neither_in_the_log_nor_in_its_summary(
    world: World, written: Callable[[], str]
) -> None:
    await world.onboard()

    async def refused(session: TenantSession) -> int:
        Person.model_validate({"name": NAME, "email": EMAIL})
        return 1

    each = TenantSweep(world.core.adapters.database, world.core.directory, world.core.services)
    summary = await each.each(refused)
    text = written() + str(summary)
    assert ("a timer's work failed" in text, "ValidationError" in text, canaries(text)) == (True, True, [])


@pytest.mark.parametrize(
    "name", ["azure.core.pipeline.policies.http_logging_policy", "azure.cosmos", "asyncio", "aiohttp.client"]
)
def test_libraries_warn_in_the_same_form_and_tell_nothing_below(name: str, world: World) -> None:
    """`azure.core` would log the address of each request at INFO, and ids are part of addresses."""
    top = logging.getLogger(name.partition(".")[0])
    assert [type(one.formatter) for one in top.handlers if isinstance(one, logging.StreamHandler)][:1] == [JsonLines]
    assert (top.propagate, logging.getLogger(name).isEnabledFor(logging.INFO)) == (False, False)


# In the Functions worker


class AsyncLoggingHandler(logging.Handler):
    """As the worker's own, which is known by this name: it tells the host of each line, as it is formatted."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append((record.levelname, self.format(record)))


@pytest.fixture
def worker() -> Iterator[AsyncLoggingHandler]:
    handler, root = AsyncLoggingHandler(), logging.getLogger()
    root.addHandler(handler)
    lines.configure("INFO")
    yield handler
    root.removeHandler(handler)
    lines.configure("INFO")


def test_in_a_functions_worker_our_lines_go_through_its_handler_and_its_own_stay_as_they_are(
    worker: AsyncLoggingHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    lines.configure("INFO")  # as each core does
    logging.getLogger("flowgrid.test").info("nothing failed, no error", extra={"failed": 0})
    logging.getLogger("azure.cosmos").warning("slow")
    logging.getLogger("azure.functions.worker").warning("its own")
    levels, texts = zip(*worker.told, strict=True)
    assert levels == ("INFO", "WARNING", "WARNING")
    assert [json.loads(text)["level"] for text in texts[:2]] == ["info", "warning"]
    assert (texts[2], capsys.readouterr().err) == ("its own", "")


def test_elsewhere_they_go_to_standard_error_once(worker: AsyncLoggingHandler) -> None:
    logging.getLogger().removeHandler(worker)
    for _ in range(2):
        lines.configure("INFO")
    own = [one for one in logging.getLogger("flowgrid").handlers if isinstance(one.formatter, JsonLines)]
    assert (len(own), logging.getLogger("flowgrid").propagate, worker.told) == (1, False, [])

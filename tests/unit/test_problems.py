"""Errors as RFC 9457 problems: a status for every error there is, every member shown, and nothing of the unknown."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import (
    Conflict,
    FieldError,
    FlowgridError,
    Forbidden,
    Invalid,
    NotFound,
    QuotaReached,
    RateLimited,
    Stale,
    TenantSuspended,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unknown,
)
from shared.http.problems import STATUS, TITLES, problem, status_of
from tests.unit.world import World, admin


def tree(root: type[FlowgridError] = FlowgridError) -> Iterator[type[FlowgridError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def bare(cls: type[FlowgridError]) -> FlowgridError:
    """An instance without the ceremony of its own constructor."""
    error = cls.__new__(cls)
    FlowgridError.__init__(error, "words")
    return error


def shown(error: Exception) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(problem(error, request_id="r-1", instance="/api/v1/agents").get_body())
    return body


def headers(error: Exception) -> dict[str, str]:
    return dict(problem(error, request_id="r-1", instance="/").headers)


@pytest.mark.parametrize("cls", list(tree()))
def test_every_error_of_the_tree_has_a_status_with_a_title(cls: type[FlowgridError]) -> None:
    assert status_of(cls) in TITLES


@pytest.mark.parametrize("cls", [one for one in tree() if FlowgridError in one.__bases__ and one.code != "internal"])
def test_every_branch_of_the_tree_has_a_status_of_its_own(cls: type[FlowgridError]) -> None:
    assert cls in STATUS


def test_every_error_that_a_caller_sees_has_a_code_of_its_own() -> None:
    codes = [one.code for one in tree() if one.code != "internal"]
    assert len(codes) == len(set(codes))


def test_every_error_is_drawn_in_the_tree_at_the_top_of_its_module() -> None:
    import shared.errors

    drawn = shared.errors.__doc__ or ""
    own = [one.__name__ for one in tree() if one.__module__ == "shared.errors"]
    assert [name for name in own if name not in drawn] == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TenantSuspended("x"), 403),
        (QuotaReached("Agent", limit=1, current=1), 429),
        (RateLimited("x", limit=10, retry_after=3), 429),
        (Throttled("x"), 503),
        (Unknown("x"), 503),
        (Stale("x"), 412),
        (FlowgridError("x"), 500),
    ],
)
def test_an_error_without_a_status_of_its_own_has_its_parents(error: FlowgridError, status: int) -> None:
    assert status_of(type(error)) == status


def test_a_problem_has_every_member_that_the_standard_and_the_roadmap_name() -> None:
    assert shown(NotFound("There is no such agent.")) == {
        "type": "/api/problems/not_found",
        "title": "Not found",
        "status": 404,
        "detail": "There is no such agent.",
        "instance": "/api/v1/agents",
        "request_id": "r-1",
        "code": "not_found",
        "error": "There is no such agent.",
    }


def test_a_problem_says_that_it_is_one() -> None:
    response = problem(NotFound("x"), request_id="r-1", instance="/")
    assert (response.status_code, response.mimetype) == (404, "application/problem+json")


def test_an_invalid_request_lists_everything_that_is_wrong() -> None:
    errors = [FieldError("name", "is missing"), FieldError("tools.0", "is no text", 7)]
    assert shown(Invalid(errors))["errors"] == [
        {"field": "name", "message": "is missing", "value": None},
        {"field": "tools.0", "message": "is no text", "value": 7},
    ]


def test_an_invalid_request_says_how_much_more_is_wrong_than_the_first_thing() -> None:
    assert shown(Invalid([FieldError("a", "is bad")] * 3))["detail"] == "a: is bad (and 2 more)"


def test_a_quota_shows_limit_current_and_where_to_upgrade() -> None:
    body = shown(QuotaReached("Agent", limit=50, current=50))
    assert {name: body[name] for name in ("error", "limit", "current", "upgradeUrl")} == {
        "error": "Agent quota exceeded",
        "limit": 50,
        "current": 50,
        "upgradeUrl": "/billing/upgrade",
    }


def test_members_of_an_error_are_shown() -> None:
    assert shown(Conflict("It is taken.", field="slug"))["field"] == "slug"


@pytest.mark.parametrize("error", [RateLimited("x", limit=10, retry_after=7), Unavailable("x", retry_after=7)])
def test_what_passes_says_when_to_come_back(error: Exception) -> None:
    assert headers(error)["Retry-After"] == "7"


@pytest.mark.parametrize("error", [QuotaReached("Agent", limit=1, current=1), Conflict("x"), Forbidden("x")])
def test_what_does_not_pass_by_itself_says_nothing_of_coming_back(error: Exception) -> None:
    assert "Retry-After" not in headers(error)


def test_who_is_unknown_is_told_how_to_be_known() -> None:
    assert headers(Unauthenticated("x"))["WWW-Authenticate"] == 'Bearer realm="flowgrid"'


def test_who_is_known_is_not_asked_again() -> None:
    assert "WWW-Authenticate" not in headers(Forbidden("x"))


def test_an_unknown_exception_is_an_opaque_500() -> None:
    body = shown(RuntimeError("password=hunter2"))
    assert (body["status"], body["code"], "hunter2" in json.dumps(body)) == (500, "internal", False)


def test_an_unknown_exception_is_logged_with_its_trace(log: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("password=hunter2")
    problem(error, request_id="r-1", instance="/")
    (record,) = log.records
    assert (record.levelno, record.exc_info and record.exc_info[1]) == (logging.ERROR, error)


def test_an_error_of_ours_is_not_logged_as_unexpected(log: pytest.LogCaptureFixture) -> None:
    problem(NotFound("x"), request_id="r-1", instance="/")
    assert log.records == []


@pytest.mark.parametrize(("text", "said"), [("Zoë ☂", "Zoë ☂"), ("\x00", "\x00"), ("\ud800", "?")])
def test_a_problem_can_say_any_text(text: str, said: str) -> None:
    assert shown(Conflict(text))["detail"] == said


async def test_a_handler_that_breaks_answers_500_with_the_request_id(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("password=hunter2")

    tenant = await world.onboard()
    monkeypatch.setattr(world.core.endpoint.members, "admit", broken)
    answer = await world.call("list_agents", admin(tenant["id"]), headers={"x-request-id": "r-7"})
    assert (answer.status, answer.json["request_id"], answer.headers["x-request-id"]) == (500, "r-7", "r-7")


def test_what_was_sent_is_shown_in_short_whoever_has_found_it_wrong() -> None:
    long = Invalid(
        [FieldError("source_id", "is no element", "x" * 70_000), FieldError("tools", "are many", [1] * 9_000)]
    )
    first, second = shown(long)["errors"]
    assert first["value"] == "x" * 200 + "…"
    assert len(second["value"]) == 201
    assert shown(Invalid.of("limit", "is too much", 500))["errors"][0]["value"] == 500

"""`python -m cli smoke`: all is well, or what is not; a new app is waited for, and no longer than was said."""

from collections.abc import Callable

import httpx
import pytest

from cli.smoke import IN_A_ROW, run

GOOD = {
    "/api/health/live": (200, '{"status":"ok"}'),
    "/api/health": (200, '{"status":"healthy","checks":{}}'),
    "/api/openapi.json": (200, '{"openapi":"3.1.0"}'),
}
PATHS = {"health": "/api/health", "description": "/api/openapi.json"}


class Deployment:
    """`away`: so many calls are refused first; `wrong`: answers that are not as they should be."""

    def __init__(self, away: int = 0, **wrong: tuple[int, str]) -> None:
        self.away = away
        self.live: list[str] = []  # what is told of commits, one after the other
        self.answers = {**GOOD, **{PATHS[name]: answer for name, answer in wrong.items()}}
        self.said = list[str]()
        self.slept = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        if self.away:
            self.away -= 1
            raise httpx.ConnectError("nobody is there")
        if request.url.path == "/api/v1/me":
            known = request.headers.get("authorization") == "Bearer good"
            return (
                httpx.Response(200, text='{"role":"admin"}')
                if known
                else httpx.Response(401, text='{"code":"unauthenticated"}')
            )
        if request.url.path == "/api/health/live" and self.live:
            return httpx.Response(200, json={"status": "ok", "commit": self.live.pop(0)})
        status, text = self.answers[request.url.path]
        return httpx.Response(status, text=text)

    def smoke(self, token: str = "", wait: float = 60.0, expect: str = "") -> bool:
        def sleep(seconds: float) -> None:
            self.slept += seconds

        transport = httpx.MockTransport(self.answer)
        url = "https://flowgrid.test/api/"
        return run(url, token, wait=wait, expect=expect, tell=self.said.append, sleep=sleep, transport=transport)


def test_a_deployment_that_works_is_told_line_by_line() -> None:
    deployment = Deployment()
    assert deployment.smoke("good")
    assert deployment.said == [
        "yes GET health without a token: 200",
        "yes GET openapi.json without a token: 200",
        "yes GET v1/me without a token: 401",
        "yes GET v1/me with a token: 200",
    ]


@pytest.mark.parametrize(
    ("deployment", "token"),
    [
        (lambda: Deployment(health=(503, '{"status":"degraded","checks":{}}')), "good"),
        (lambda: Deployment(health=(200, "<html>a page of somebody else</html>")), "good"),
        (lambda: Deployment(description=(404, "")), "good"),
        (Deployment, "bad"),
    ],
)
def test_one_thing_that_is_wrong_is_enough_and_the_others_are_told_all_the_same(
    deployment: Callable[[], Deployment], token: str
) -> None:
    made = deployment()
    assert not made.smoke(token)
    assert len(made.said) == 4
    assert sum(line.startswith("no") for line in made.said) == 1


def test_a_new_app_is_waited_for() -> None:
    deployment = Deployment(away=3)
    assert deployment.smoke(wait=60)
    assert deployment.slept == 15


def test_an_app_that_does_not_come_up_is_not_waited_for_longer_than_was_said() -> None:
    deployment = Deployment(away=10_000)
    assert not deployment.smoke(wait=60)
    assert deployment.slept <= 65
    assert deployment.said == ["no  GET health/live: no answer within 60 s"]


def test_a_release_is_waited_for_until_no_old_one_answers_any_more() -> None:
    deployment = Deployment()
    deployment.live = ["old", "new", "new", "old", *["new"] * IN_A_ROW, "old"]
    assert deployment.smoke(expect="new")
    assert deployment.live == ["old"], "so many in a row are enough"


@pytest.mark.parametrize("answers", [["old"], ["new", "old"], ["new"] * (IN_A_ROW - 1) + ["old"]])
def test_what_the_old_release_answers_does_not_pass_the_new_one(answers: list[str]) -> None:
    deployment = Deployment()
    deployment.live = answers * 100
    assert not deployment.smoke(expect="new")
    assert deployment.said == ["no  GET health/live: no answer by new alone within 60 s"]


def test_an_app_that_tells_no_commit_is_not_the_one_that_is_expected() -> None:
    deployment = Deployment()
    assert not deployment.smoke(expect="new")
    deployment.answers["/api/health/live"] = (200, "<html>a page of somebody else</html>")
    assert not deployment.smoke(expect="new")

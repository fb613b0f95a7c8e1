"""What a served host writes while a main job runs and goes wrong: no name, no address, no token, at any level."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.auth.roles import Role
from tests.e2e.api import AGENT, UNLIMITED, Api, Flowgrid, new_http
from tests.e2e.host import Host

EMAIL, NAME = "canary.bird@acme.example", "Kanarienvogel"


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[Host]:
    """A host of its own that logs all it can."""
    served = Host(tmp_path)
    served.environment |= {"FLOWGRID_LOG_LEVEL": "DEBUG"}
    served.start()
    yield served
    served.stop()


async def test_no_line_of_a_served_host_names_anybody_or_holds_a_token(talkative: Host) -> None:
    async with new_http() as http:
        flowgrid = Flowgrid(talkative, http)
        tenant = await flowgrid.staff.ok(
            "POST",
            "platform/tenants",
            {"name": NAME, "slug": "canary", "admin_email": EMAIL, "settings": {"limits": UNLIMITED}},
        )
        token = talkative.issuer.mint(NAME, roles=[Role.ADMIN], tenant_id=tenant["id"], email=EMAIL, name=NAME)
        ada, forged = Api(http, talkative.url, token), Api(http, talkative.url, f"{token[:-8]}AAAAAAAA")
        agent = {**AGENT, "name": NAME, "description": f"{EMAIL} {token}"}
        answers = [
            await ada.post("agents", agent),
            await ada.post("agents", {"name": NAME, EMAIL: token}),
            await ada.get(f"agents/{EMAIL}"),
            await ada.get("agents", params={"name": NAME, "cursor": token}),
            await ada.post("users", {"email": f"b.{EMAIL}", "name": NAME, "role": "user"}),
            await ada.post("users", {"email": EMAIL, "name": NAME, "role": NAME}),
            await ada.post("agents", agent, headers={"idempotency-key": EMAIL, "x-request-id": EMAIL}),
            await ada.get("me", headers={"user-agent": f"{NAME} {token}", "x-forwarded-for": EMAIL}),
            await forged.get("me"),
            await http.get(f"{talkative.url}/{EMAIL}/{token}?{NAME}"),
            await ada.post(f"/admin/functions/{NAME}", {"input": EMAIL}),
            await ada.post("/admin/functions/run_job", {"input": {"tenant_id": tenant["id"], "job_id": EMAIL}}),
            await ada.post("/admin/functions/store_usage", {"input": [{"email": EMAIL, "name": NAME, "t": token}]}),
            await ada.post("/admin/functions/sweep", {"input": ""}),
        ]
    talkative.restart()
    written = talkative.log
    assert [(answer.url.path, answer.text) for answer in answers if answer.status_code == 500] == []
    assert '"reason": "signature"' in written
    assert [canary for canary in (EMAIL, NAME, token, token[-40:], token[:40]) if canary in written] == []

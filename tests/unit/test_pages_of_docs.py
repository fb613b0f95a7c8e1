"""The pages of docs/ that are made from the code, and the one about a problem that the app serves."""

import pytest

from cli.pages import DOCS, LIMITS, PAGES
from shared.errors import FlowgridError
from shared.http.catalogue import entries
from shared.tenancy.plans import PLANS
from tests.unit.world import AGENT, World, admin, person


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_made_from_the_code_is_as_the_code_is_now(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run `make pages`"


def test_the_limits_name_every_number_of_every_plan() -> None:
    text = PAGES["limits.md"]()
    assert all(f"{value:,}" in text for plan in PLANS.values() for value in vars(plan).values())
    assert len(LIMITS) == text.count("`shared.") + text.count("`functions.")


def test_every_code_says_what_it_means_and_what_to_do_in_words_of_its_own() -> None:
    PAGES["problems.md"]()  # loads every error there is
    own = [entry for entry in entries().values()]
    assert len({entry.meaning for entry in own}) == len(own) > 25
    assert all(entry.meaning.endswith(".") and entry.remedy.endswith(".") for entry in own)


def test_an_error_without_a_code_of_its_own_is_not_in_the_catalogue() -> None:
    class Inner(FlowgridError):
        pass

    assert Inner.code == "internal" and list(entries()).count("internal") == 1


async def test_the_type_of_a_problem_is_a_page_that_this_app_serves(world: World) -> None:
    tenant = (await world.onboard("acme"))["id"]
    problems = [
        await world.call("create_agent", admin(tenant), {}),
        await world.call("get_agent", admin(tenant), params={"agent_id": "none"}),
        await world.call("list_agents", person(tenant, None)),
        await world.call("list_agents"),
    ]
    for problem in problems:
        assert problem.json["type"] == f"/api/problems/{problem.json['code']}"
        page = await world.call("get_problem", params={"code": problem.json["code"]})
        assert page.status == 200
        assert entries()[problem.json["code"]].status == problem.status
        assert problem.json["code"] in page.raw.decode()


async def test_a_page_about_no_problem_is_not_found_and_says_nothing_of_what_was_asked(world: World) -> None:
    page = await world.call("get_problem", params={"code": "<script>"})
    assert (page.status, page.json["code"], "script>" in page.json["detail"]) == (404, "not_found", False)


async def test_a_cause_has_a_code_of_its_own(world: World) -> None:
    tenant = (await world.onboard("acme", tier="enterprise"))["id"]
    ada = admin(tenant)
    element = (await world.call("create_element", ada, {"name": "x", "type": "Node"})).json
    await world.call("create_agent", ada, {**AGENT, "element_id": element["id"]})
    backup = (await world.call("create_backup", ada)).json
    invited = {"email": "grace@acme.example"}
    await world.call("create_user", ada, invited)
    refused = {
        "in_use": await world.call("delete_element", ada, params={"element_id": element["id"]}),
        "wrong_state": await world.call("delete_backup", ada, params={"backup_id": backup["id"]}),
        "taken": await world.call("create_user", ada, invited),
        "role_needed": await world.call("list_tenants", ada),
    }
    assert {code: answer.json["code"] for code, answer in refused.items()} == {code: code for code in refused}

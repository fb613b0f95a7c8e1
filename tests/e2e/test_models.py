"""Imported models as a client meets them: two that call their elements alike, exported, merged, deleted."""

from typing import Any

from tests.e2e.api import AGENT, Tenant

XML = {"content-type": "application/xml"}


def file(model: str, *names: str, flow: tuple[int, int] = (0, 1)) -> bytes:
    elements = "".join(
        f'<element identifier="e{number}" xsi:type="BusinessProcess"><name>{name}</name></element>'
        for number, name in enumerate(names)
    )
    flows = f'<relationship identifier="r" xsi:type="Flow" source="e{flow[0]}" target="e{flow[1]}"/>'
    return (
        '<model xmlns="http://www.opengroup.org/xsd/archimate/3.0/"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" identifier="{model}"><name>{model}</name>'
        f"<elements>{elements}</elements><relationships>{flows}</relationships></model>"
    ).encode()


async def imported(tenant: Tenant, body: bytes, **query: str) -> Any:
    return await tenant.user.ok("POST", "catalog/import", content=body, headers=XML, params=query)


async def test_two_models_that_call_their_elements_alike_are_two_models(acme: Tenant) -> None:
    one = await imported(acme, file("one", "Take", "Check", "Pay"))
    two = await imported(acme, file("two", "Hire", "Train", flow=(1, 0)))
    assert (one["created"], two["created"], two["updated"]) == (4, 3, 0)
    listed = await acme.viewer.every("models")
    assert [(model["id"], model["last_import"]["elements"]) for model in listed] == [
        (two["model_id"], 2),
        (one["model_id"], 3),
    ]
    names = [element["name"] for element in await acme.viewer.every("elements", model_id=one["model_id"])]
    assert sorted(names) == ["Check", "Pay", "Take"]
    merged = await imported(acme, file("draft", "Take in", "Check", "Pay"), model="one")
    assert (merged["model_id"], merged["updated"], merged["unchanged"]) == (one["model_id"], 1, 3)
    for query in ({}, {"model": "two"}, {"model": one["model_id"]}):
        exported = (await acme.viewer.get("catalog/export", params=query)).content
        again = await imported(acme, exported)
        assert (again["created"], again["updated"], again["skipped"]) == (0, 0, 0)
    assert len(await acme.viewer.every("models")) == 2


async def test_a_model_goes_with_all_that_is_its_or_not_at_all(acme: Tenant) -> None:
    names = [f"Step {number}" for number in range(90)]
    model = (await imported(acme, file("long", *names)))["model_id"]
    kept = (await imported(acme, file("kept", "Take", "Check")))["model_id"]
    (element,) = await acme.viewer.every("elements", name="Step 7")
    agent = await acme.user.ok("POST", "agents", {**AGENT, "element_id": element["id"]})
    assert (await acme.admin.delete(f"models/{model}")).status_code == 409
    refused = await acme.admin.call("DELETE", f"models/{model}", params={"cascade": "true"})
    assert (refused.status_code, refused.json()["agents"][0]["id"]) == (409, agent["id"])
    assert len(await acme.viewer.every("elements", model_id=model)) == 90
    await acme.admin.ok("DELETE", f"agents/{agent['id']}")
    gone = await acme.admin.call("DELETE", f"models/{model}", params={"cascade": "true"})
    assert gone.status_code == 204
    assert [one["id"] for one in await acme.viewer.every("models")] == [kept]
    assert len(await acme.viewer.every("elements")) == 2

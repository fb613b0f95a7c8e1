"""Teams of agents as a document that another tenant can take in: with keys for ids, and elements by name and type."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from functions.agents.models import AGENT, Agent, AgentFields
from functions.agents.service import AgentService
from shared.database.port import Where
from shared.errors import FieldError, Invalid, NotFound, TooLarge
from shared.http.pagination import Query
from shared.kinds import Kind
from shared.work.resources import Answer, Body, Id, Name, PageRequest, bounded_page, find
from shared.work.session import TenantSession

MAX_AGENTS = 20  # of a team: with their elements they are one batch
MAX_IDS = 2000  # characters
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,79}$")]


class ElementName(Body):
    """An element of the landscape, as another catalog may have it as well."""

    name: Annotated[str, Field(max_length=1000)] = Field(description="What it is called.")
    type: Annotated[str, Field(max_length=50)] = Field(description="Its type in ArchiMate 3.2.")


class TeamAgent(Body):
    """An agent of a team; `agent:<key>` in its tools, and `agent` in its config, mean others of the team."""

    key: Key = Field(description="What the others call it.")
    agent: AgentFields = Field(description="The agent, of no element.")
    element: ElementName | None = Field(None, description="The element that it works on.")


class Team(Body):
    """Agents that belong together."""

    format: Literal["flowgrid.team/1"] = Field("flowgrid.team/1", description="The form of this document.")
    agents: list[TeamAgent] = Field(min_length=1, max_length=MAX_AGENTS, description="The agents.")


class TeamExportQuery(Query):
    id: str | None = Field(
        None, max_length=MAX_IDS, description=f"Ids, separated by commas; without it, all agents: {MAX_AGENTS} at most."
    )


class TeamImportQuery(Query):
    dry_run: bool = Field(False, description="Say what would be made, and make nothing.")


class ImportedAgent(Answer):
    """What became of an agent of a team."""

    key: str = Field(description="Its key in the team.")
    id: Id | None = Field(description="The new agent's id; null in a dry run.")
    name: Name = Field(description="What it is called.")
    element_id: Id | None = Field(description="The element of the same name and type here; null: there is none.")


class TeamImported(Answer):
    """What an import of a team has made, or would."""

    dry_run: bool = Field(description="Whether nothing was made.")
    agents: list[ImportedAgent] = Field(description="In the team's order.")
    warnings: list[str] = Field(description="What could not be taken as it was.")

    def makes(self) -> list[tuple[Kind, str]]:
        return [(Agent.KIND, one.id) for one in self.agents if one.id is not None]


class Teams:
    """`element_kind`: of the catalog's elements, which agents name by id."""

    def __init__(self, agents: AgentService, element_kind: Kind) -> None:
        self._agents = agents
        self._element_kind = element_kind

    async def export(self, tenant: TenantSession, ids: Sequence[str] | None) -> Team:
        """Those agents, or all. `NotFound` for an id that is none; `TooLarge` for more than a team has."""
        if ids is None:
            listed = await find(tenant, Agent, {}, PageRequest(MAX_AGENTS + 1))
            found = listed.items[::-1]
        else:
            found = [await self._agents.get(tenant, id) for id in dict.fromkeys(ids)]
        if not found:
            raise NotFound("There are no agents to export.")
        if len(found) > MAX_AGENTS:
            raise TooLarge(f"A team has at most {MAX_AGENTS} agents; name those that belong together (?id=…,…).")
        keys = {one.id: one.id for one in found}
        return Team(agents=[await self._exported(tenant, one, keys) for one in found])

    async def take(self, tenant: TenantSession, team: Team, *, dry_run: bool) -> TeamImported:
        """Make all of them, as drafts, in one batch; `Invalid` for a team that names what it has not.

        `QuotaReached` where the plan has no room for them.
        """
        keys = [one.key for one in team.agents]
        errors = [
            FieldError(f"agents.{number}.key", "is another agent's key as well", key)
            for number, key in enumerate(keys)
            if key in keys[:number]
        ]
        warnings: list[str] = []
        for number, one in enumerate(team.agents):
            at = f"agents.{number}.agent"
            if one.agent.element_id is not None:
                named = FieldError(f"{at}.element_id", "means nothing here; name the element (`element`)")
                errors.append(named)
            for tool in one.agent.tools:
                if tool.startswith(AGENT) and tool.removeprefix(AGENT) not in keys:
                    errors.append(FieldError(f"{at}.tools", "names no agent of this team", tool))
        if errors:
            raise Invalid(errors)
        ids = dict(zip(keys, (tenant.services.ids.new() for _ in keys), strict=True))
        change, made = tenant.change(), list[ImportedAgent]()
        for number, one in enumerate(team.agents):
            element = await self._element_here(tenant, one.element)
            if one.element is not None and element is None:
                warnings.append(f"{one.agent.name}: there is no {one.element.type} called {one.element.name!r} here.")
            fields = {**_fields(one.agent, ids), "status": "draft", "element_id": element}
            resource = change.create(Agent, fields, id=ids[one.key])
            if element is not None:
                change.touch(self._element_kind, element, f"agents.{number}.element")
            self._agents.created(change, resource)
            shown = None if dry_run else resource.id
            made.append(ImportedAgent(key=one.key, id=shown, name=resource.name, element_id=element))
        change.count("agents", len(team.agents), limit=tenant.plan.quota("agents"))
        report = TeamImported(dry_run=dry_run, agents=made, warnings=warnings)
        return report if dry_run else await change.commit(report)

    async def _exported(self, tenant: TenantSession, agent: Agent, keys: Mapping[str, str]) -> TeamAgent:
        element: ElementName | None = None
        if agent.element_id is not None:
            stored = await tenant.store.get(self._element_kind, agent.element_id)
            if stored is not None:
                element = ElementName(name=stored.body["name"], type=stored.body["type"])
        tools = [tool for tool in agent.tools if not tool.startswith(AGENT) or tool.removeprefix(AGENT) in keys]
        own = agent.model_dump(include={*AgentFields.model_fields})
        fields = {**own, "tools": tools, "element_id": None, "status": "draft"}
        return TeamAgent(key=agent.id, agent=AgentFields.model_validate(fields), element=element)

    async def _element_here(self, tenant: TenantSession, wanted: ElementName | None) -> str | None:
        """The first of this name and type; one query."""
        if wanted is None or not wanted.name:
            return None
        where = [Where("name", "=", wanted.name), Where("type", "=", wanted.type)]
        page = await bounded_page(tenant.store, self._element_kind, {}, PageRequest(1, where=where))
        return str(page.items[0].body["id"]) if page.items else None


def _fields(agent: AgentFields, ids: Mapping[str, str]) -> dict[str, Any]:
    """Keys of others become their ids."""
    tools = [f"{AGENT}{ids[tool.removeprefix(AGENT)]}" if tool.startswith(AGENT) else tool for tool in agent.tools]
    config = dict(agent.config)
    if isinstance(named := config.get("agent"), str) and named in ids:
        config["agent"] = ids[named]
    return {**agent.model_dump(), "tools": tools, "config": config}

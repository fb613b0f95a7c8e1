"""The peer's routes as FastAPI's and SQLAlchemy's documentation has them: mapped classes, a session, response models.

What goes around them (tokens, limits, headers) is app.py's. Tuned: no lazy loads, nothing expired or refreshed after a
commit, statements prepared once, what a call adds in one flush.
"""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from app import (
    COUNT_UP,
    ELEMENT,
    Caller,
    NewAgent,
    Peer,
    Problem,
    as_tenant,
    called,
    headers,
    invalid_to_problem,
    position_of,
    sign,
    usage,
)
from fastapi import Depends, FastAPI, Query, Response
from pydantic import BaseModel, ConfigDict
from sqlalchemy import DateTime, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {dict[str, Any]: JSONB, list[str]: JSONB, datetime: DateTime(timezone=True)}

    tenant_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class Agent(Base):
    __tablename__ = "agents"

    revision: Mapped[int]
    name: Mapped[str]
    description: Mapped[str]
    pattern: Mapped[str]
    provider: Mapped[str]
    model: Mapped[str]
    instructions: Mapped[str]
    tools: Mapped[list[str]]
    config: Mapped[dict[str, Any]]
    element_id: Mapped[uuid.UUID | None]
    status: Mapped[str]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    created_by: Mapped[uuid.UUID]
    updated_by: Mapped[uuid.UUID]


class Entry(Base):
    __tablename__ = "audit"

    created_at: Mapped[datetime]
    user_id: Mapped[uuid.UUID]
    action: Mapped[str]
    resource_type: Mapped[str]
    resource_id: Mapped[uuid.UUID]
    revision: Mapped[int]
    old_value: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    new_value: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    ip_address: Mapped[str]
    user_agent: Mapped[str]
    request_id: Mapped[str]


class Event(Base):
    __tablename__ = "usage_events"

    at: Mapped[datetime]
    metric: Mapped[str]
    value: Mapped[int]
    data: Mapped[dict[str, Any]]


class AgentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    tenant_id: uuid.UUID
    revision: int
    name: str
    description: str
    pattern: str
    provider: str
    model: str
    instructions: str
    tools: list[str]
    config: dict[str, Any]
    element_id: uuid.UUID | None
    status: str
    created_at: datetime
    updated_at: datetime
    created_by: uuid.UUID
    updated_by: uuid.UUID


class PageOut(BaseModel):
    items: list[AgentOut]
    next_cursor: str | None


def web(peer: Peer) -> FastAPI:
    app = FastAPI(title="The peer")
    invalid_to_problem(app)
    Admitted = Annotated[Caller, Depends(peer.admitted)]
    sessions = async_sessionmaker(peer.engine, expire_on_commit=False)

    @app.get("/api/v1/agents/{agent_id}", response_model=AgentOut)
    async def get_agent(agent_id: uuid.UUID, caller: Admitted, response: Response) -> Agent:
        async with sessions.begin() as db:
            await as_tenant(db, caller)
            agent = await db.scalar(select(Agent).where(Agent.tenant_id == caller.tenant, Agent.id == agent_id))
            status = 404 if agent is None else 200
            db.add(_called(caller, "GET", "/api/v1/agents/{agent_id}", "get_agent", status))
        if agent is None:
            raise Problem(404, "not_found")
        headers(response, caller, ETag=_etag(agent))
        return agent

    @app.get("/api/v1/agents", response_model=PageOut)
    async def list_agents(
        caller: Admitted,
        response: Response,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Annotated[str | None, Query(max_length=2000)] = None,
        name: str | None = None,
        pattern: str | None = None,
        status: str | None = None,
    ) -> dict[str, Any]:
        filters = {key: value for key, value in (("name", name), ("pattern", pattern), ("status", status)) if value}
        scope = f"{caller.tenant}:{sorted(filters.items())}"
        page = select(Agent).where(Agent.tenant_id == caller.tenant).filter_by(**filters)
        if cursor is not None:
            page = page.where(tuple_(Agent.created_at, Agent.id) < tuple_(*position_of(cursor, scope)))
        page = page.order_by(Agent.created_at.desc(), Agent.id.desc()).limit(limit + 1)
        async with sessions.begin() as db:
            await as_tenant(db, caller)
            found = (await db.scalars(page)).all()
            db.add(_called(caller, "GET", "/api/v1/agents", "list_agents", 200))
        items, more = found[:limit], len(found) > limit
        headers(response, caller)
        following = sign([items[-1].created_at.isoformat(), str(items[-1].id)], scope) if more else None
        return {"items": items, "next_cursor": following}

    @app.post("/api/v1/agents", status_code=201, response_model=AgentOut)
    async def create_agent(body: NewAgent, caller: Admitted, response: Response) -> Agent:
        at, user = datetime.now(UTC), caller.member.user_id
        stamp = {"created_at": at, "updated_at": at, "created_by": user, "updated_by": user}
        fields = body.model_dump(exclude={"element_id"})
        agent = Agent(id=uuid.uuid4(), tenant_id=caller.tenant, revision=1, element_id=None, **stamp, **fields)
        async with sessions.begin() as db:
            await as_tenant(db, caller)
            if body.element_id is not None:
                agent.element_id = uuid.UUID(body.element_id)
                element = {"tenant": caller.tenant, "id": agent.element_id}
                if (await db.execute(ELEMENT, element)).first() is None:
                    raise Problem(400, "invalid_request")
            await _create(db, caller, agent)
        headers(response, caller, ETag=_etag(agent), Location=f"/api/v1/agents/{agent.id}")
        return agent

    return app


async def _create(db: AsyncSession, caller: Caller, agent: Agent) -> None:
    """The agent, its audit and usage, and last, so that its row is locked for as short as can be, the quota."""
    made = {"agent_id": str(agent.id), "pattern": agent.pattern}
    entry = Entry(
        tenant_id=caller.tenant,
        id=uuid.uuid4(),
        created_at=agent.created_at,
        user_id=caller.member.user_id,
        action="agent.created",
        resource_type="agent",
        resource_id=agent.id,
        revision=1,
        old_value=None,
        new_value=AgentOut.model_validate(agent).model_dump(mode="json"),
        ip_address=caller.address,
        user_agent=caller.agent,
        request_id=caller.request_id,
    )
    event = Event(**usage(caller, agent.created_at, "agents_created", made))
    db.add_all([agent, entry, event, _called(caller, "POST", "/api/v1/agents", "create_agent", 201)])
    await db.flush()
    most = {"tenant": caller.tenant, "counter": "agents", "most": caller.member.max_agents}
    if (await db.execute(COUNT_UP, most)).first() is None:
        raise Problem(409, "quota_reached")


def _called(caller: Caller, method: str, path: str, operation: str, status: int) -> Event:
    return Event(**called(caller, datetime.now(UTC), method, path, operation, status))


def _etag(agent: Agent) -> str:
    return f'"{agent.revision}-{int(agent.updated_at.timestamp() * 1_000_000):x}"'

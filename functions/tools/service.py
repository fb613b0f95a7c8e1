"""The tool service: every rule about HTTP tools, and nothing about HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from functions.tools.models import Tool, ToolFields, tool_id
from functions.tools.rules import moved_with_its_secret, wrong_with
from shared.errors import Invalid
from shared.outgoing.addresses import Allowed
from shared.work.change import Change
from shared.work.kept_secrets import KeptSecrets
from shared.work.resources import Resource, load
from shared.work.service import Patch, ResourceService
from shared.work.session import TenantSession


class ToolService(ResourceService[Tool, ToolFields]):
    """A tool's id follows from its name, which stays. Its secret goes to the store of secrets, and only there.

    `allowed`: addresses that tools may name although they are not public.
    """

    model = Tool

    def __init__(self, secrets: KeptSecrets, allowed: Allowed) -> None:
        self._secrets = secrets
        self.allowed = allowed

    def values(self, sent: ToolFields, old: Tool | None) -> Mapping[str, Any]:
        """`sent.secret` is the reference to it by now (`_kept`)."""
        self._check(sent, old)
        held = None if old is None else old.secret_reference
        reference = held if sent.secret is None else sent.secret or None
        return {**sent.model_dump(exclude={"secret"}), "secret_reference": reference}

    async def check(self, tenant: TenantSession, change: Change, old: Tool | None, new: Tool) -> None:
        held = None if old is None else old.secret_reference
        await self._secrets.move(tenant, change, new, held, new.secret_reference)

    async def create(self, tenant: TenantSession, new: ToolFields) -> Tool:
        """`Taken` for a second one of the same name."""
        self._check(new, None)
        change, tools = await self.creation(tenant, [await self._kept(tenant, new)])
        return await change.commit(tools[0])

    async def creation(self, tenant: TenantSession, new: Sequence[ToolFields]) -> tuple[Change, list[Tool]]:
        """A change that makes all of these, and what it makes. `Invalid` for what is no tool, `Taken` at commit."""
        ids = [tool_id(one.name) for one in new]
        buried = await tenant.buried(Tool.KIND, ids)
        change, made = tenant.change(*buried.values()), list[Tool]()
        for id, one in zip(ids, new, strict=True):
            tool = change.create(Tool, self.values(one, None), id=id, buried=buried.get(id))
            await self.check(tenant, change, None, tool)
            made.append(tool)
        return change, made

    async def replace(self, tenant: TenantSession, id: str, new: ToolFields, if_match: str | None) -> Tool:
        self._check(new, (await load(tenant, Tool, id)).value)
        return await super().replace(tenant, id, await self._kept(tenant, new), if_match)

    async def patch(self, tenant: TenantSession, id: str, patch: Patch[ToolFields], if_match: str | None) -> Tool:
        held = (await load(tenant, Tool, id)).value
        new = patch.onto(held)
        self._check(new, held)
        kept = await self._kept(tenant, new)
        return await super().patch(tenant, id, _Kept(patch, kept.secret), if_match)

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        async def last(change: Change, old: Tool) -> None:
            await self._secrets.move(tenant, change, old, old.secret_reference, None)

        await tenant.remove(Tool, id, if_match=if_match, also=last)

    def _check(self, sent: ToolFields, old: Tool | None) -> None:
        errors = wrong_with(sent, self.allowed)
        if errors:
            raise Invalid(errors)
        if old is None:
            return
        if old.name != sent.name:
            raise Invalid.of("name", "stays as it is, for agents name the tool by it; make another tool", sent.name)
        keeps = old.secret_reference is not None and sent.secret is None
        if keeps and (wrong := moved_with_its_secret(old.url, sent.url)):
            raise Invalid([wrong])

    async def _kept(self, tenant: TenantSession, new: ToolFields) -> ToolFields:
        """The same with a reference for its secret."""
        if not new.secret:
            return new
        reference = await self._secrets.put(tenant, Tool.KIND, tool_id(new.name), new.secret)
        return new.model_copy(update={"secret": reference})


@dataclass(frozen=True)
class _Kept:
    """A patch whose secret is kept already."""

    patch: Patch[ToolFields]
    secret: str | None

    def onto(self, resource: Resource) -> ToolFields:
        return self.patch.onto(resource).model_copy(update={"secret": self.secret})

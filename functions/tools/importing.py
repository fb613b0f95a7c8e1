"""The import of an OpenAPI document: its operations, or those that are named, become tools in one batch."""

import asyncio
from collections.abc import Sequence

from pydantic import Field

from functions.tools.models import Approval, Tool, ToolFields, tool_id
from functions.tools.openapi import Document, NotTaken, Operation
from functions.tools.openapi_tools import name_of, tool_of
from functions.tools.service import ToolService
from shared.errors import FieldError, Invalid
from shared.http.pagination import Query
from shared.kinds import Kind
from shared.work.resources import Answer, Id
from shared.work.session import TenantSession

MAX_TOOLS = 30  # of one import: they are one batch, each with its entry of the audit
MAX_LISTED = 200  # of a dry run


class ToolImportQuery(Query):
    dry_run: bool = Field(False, description="Say what would be made, and make nothing.")
    base_url: str | None = Field(
        None, min_length=1, max_length=1000, description="Where the API is; without it, the document's first server."
    )
    operation: str | None = Field(
        None,
        max_length=3000,
        description=f"Operations by id or by tool's name, separated by commas; {MAX_TOOLS} at most. Without it: all.",
    )
    approval: Approval = Field("user", description="Who approves calls of those tools that are no GET.")


class ImportedTool(Answer):
    """What became of an operation."""

    operation: str = Field(description="Its method and path.")
    name: str = Field(description="The tool's name.")
    id: Id | None = Field(description="The new tool's id; null: none was made.")
    reason: str | None = Field(description="Why it cannot be taken; null: it can.")
    notes: list[str] = Field(description="What of it is left out, and what is to be done.")


class ToolsImported(Answer):
    """What an import has made, or would."""

    dry_run: bool = Field(description="Whether nothing was made.")
    count: int = Field(description="How many tools were made, or would be.")
    operations: list[ImportedTool] = Field(description="One by one, in the document's order.")
    more: int = Field(description="How many more there are, which were not looked at; name those that are meant.")

    def makes(self) -> list[tuple[Kind, str]]:
        return [(Tool.KIND, one.id) for one in self.operations if one.id is not None]


Read = tuple[ImportedTool, ToolFields | None]
"""What is told of an operation, and its tool where there can be one."""


class ToolImport:
    """`tools`: the service that makes them."""

    def __init__(self, tools: ToolService) -> None:
        self._tools = tools

    async def take(self, tenant: TenantSession, raw: bytes, query: ToolImportQuery) -> ToolsImported:
        """Make what can be made, all of it in one batch. `Taken` when somebody makes one of them at the same time."""
        found, more = await asyncio.to_thread(self._read, raw, query)
        report, new = await self._told(tenant, found)
        if query.dry_run or not new:
            return ToolsImported(dry_run=query.dry_run, count=len(new), operations=report, more=more)
        if len(new) > MAX_TOOLS:
            what = f"{len(new)} operations can be taken, {MAX_TOOLS} at once: name them (`dry_run=true` lists them)"
            raise Invalid.of("operation", what)
        change, made = await self._tools.creation(tenant, new)
        ids = {tool.name: tool.id for tool in made}
        report = [one if one.reason else one.model_copy(update={"id": ids[one.name]}) for one in report]
        return await change.commit(ToolsImported(dry_run=False, count=len(made), operations=report, more=more))

    def _read(self, raw: bytes, query: ToolImportQuery) -> tuple[list[Read], int]:
        """The operations, and how many there are beyond `MAX_LISTED`."""
        document = Document.read(raw)
        chosen = _chosen(document.operations(), query.operation)
        found: list[Read] = []
        names = set[str]()
        for operation in chosen[:MAX_LISTED]:
            shown = ImportedTool(operation=operation.title, name=name_of(operation), id=None, reason=None, notes=[])
            try:
                if shown.name in names:
                    raise NotTaken("another operation makes a tool of this name")
                tool, notes = tool_of(document, operation, query.base_url, query.approval, self._tools.allowed)
            except NotTaken as why:
                found.append((shown.model_copy(update={"reason": str(why)}), None))
            else:
                names.add(shown.name)
                found.append((shown.model_copy(update={"notes": notes}), tool))
        return found, max(0, len(chosen) - MAX_LISTED)

    async def _told(self, tenant: TenantSession, found: Sequence[Read]) -> tuple[list[ImportedTool], list[ToolFields]]:
        """The report, and what is to be made: tools that are there stay as they are."""
        reads = (tenant.store.get(Tool.KIND, tool_id(shown.name)) for shown, _ in found)
        there = {shown.name for (shown, _), stored in zip(found, await asyncio.gather(*reads), strict=True) if stored}
        report, new = list[ImportedTool](), list[ToolFields]()
        for shown, tool in found:
            if tool is not None and shown.name in there:
                shown, tool = shown.model_copy(update={"reason": "there is a tool of this name"}), None
            report.append(shown)
            if tool is not None:
                new.append(tool)
        return report, new


def _chosen(operations: list[Operation], wanted: str | None) -> list[Operation]:
    if wanted is None:
        return operations
    names = {name.strip() for name in wanted.split(",") if name.strip()}
    if unknown := names - {one.id for one in operations} - {name_of(one) for one in operations}:
        raise Invalid([FieldError("operation", "is no operation of the document", name) for name in sorted(unknown)])
    return [one for one in operations if one.id in names or name_of(one) in names]

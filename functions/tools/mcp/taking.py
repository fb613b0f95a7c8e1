"""From what an MCP server says of its tools to what is kept of them: names checked, schemas within our bounds."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from functions.tools.mcp.errors import McpTooLarge
from functions.tools.mcp.models import MAX_DESCRIPTION, MAX_TOOLS_BYTES, TOOL_NAME, RemoteTool, ToolChange
from functions.tools.openapi import Document, NotTaken, Schemas
from functions.tools.openapi_tools import without_patterns
from functions.tools.schemas import wrong_with_schema
from shared.database.limits import encode
from shared.errors import FlowgridError

SAID: Final = ("name", "description", "inputSchema")
IN_HEADERS: Final = "x-mcp-header"
MAX_RAW_SCHEMA: Final = 64 * 1024  # bytes of one, with all that it refers to beside it
_SHOWN_NAME: Final = 128


def taken(listed: Sequence[Mapping[str, Any]]) -> tuple[list[RemoteTool], list[ToolChange]]:
    """What can be taken, and what cannot, with why. `McpTooLarge` where all of it is too much."""
    tools: dict[str, RemoteTool] = {}
    refused: list[ToolChange] = []
    for one in listed:
        try:
            tool = tool_of(one)
            if tool.name in tools:
                raise NotTaken("another tool is called so")
            tools[tool.name] = _checked(tool)
        except NotTaken as why:
            refused.append(ToolChange(name=_shown(one.get("name")), became="refused", reason=str(why)))
    size = sum(len(tool.model_dump_json().encode()) for tool in tools.values())
    if size > MAX_TOOLS_BYTES:
        raise McpTooLarge(f"has tools of {size} bytes; at most {MAX_TOOLS_BYTES} are kept")
    return [*tools.values()], refused


def tool_of(said: Mapping[str, Any]) -> RemoteTool:
    """As it is kept, but that nobody has tried its schema yet. `NotTaken` for what is none."""
    name, description, schema = (said.get(field) for field in SAID)
    if not isinstance(name, str) or re.fullmatch(TOOL_NAME, name) is None:
        raise NotTaken("its name is not 1 to 128 letters, digits, and - _ .")
    raw = json.dumps(schema)
    if len(raw) > MAX_RAW_SCHEMA:
        raise NotTaken(f"its schema has more than {MAX_RAW_SCHEMA} bytes")
    if not isinstance(schema, dict):
        raise NotTaken("it has no schema of its arguments")
    if f'"{IN_HEADERS}":' in raw:
        raise NotTaken(f"it wants arguments in headers ({IN_HEADERS})")
    try:
        parameters = Schemas(Document(schema)).whole(schema)
    except FlowgridError as error:
        raise NotTaken(error.message) from None
    told = description[:MAX_DESCRIPTION].strip() if isinstance(description, str) else ""
    return RemoteTool(name=name, description=told, parameters=parameters, digest=digest_of(said))


def digest_of(said: Mapping[str, Any]) -> str:
    """Of all that a model is told of a tool, and what its arguments are held against."""
    whole = json.dumps([said.get(field) for field in SAID], sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()


def compared(old: Sequence[RemoteTool], new: Sequence[RemoteTool]) -> list[ToolChange]:
    """What became of each that is not as it was."""
    before, after = {one.name: one for one in old}, {one.name: one for one in new}
    found = [ToolChange(name=name, became="gone") for name in before if name not in after]
    for name, tool in after.items():
        if name not in before:
            found.append(ToolChange(name=name, became="new"))
        elif before[name].digest != tool.digest:
            found.append(ToolChange(name=name, became="changed"))
    return found


def _checked(tool: RemoteTool) -> RemoteTool:
    """With a schema that is compiled once; without its patterns, where those cannot be matched in linear time."""
    if wrong_with_schema(tool.parameters):
        plain = without_patterns(tool.parameters)
        if wrong := wrong_with_schema(plain):
            raise NotTaken(f"its schema {wrong}")
        tool = tool.model_copy(update={"parameters": plain})
    try:
        encode(tool.model_dump())
    except FlowgridError as error:
        raise NotTaken(f"its schema cannot be kept: {error.message}"[:300]) from None
    return tool


def _shown(name: Any) -> str:
    return name[:_SHOWN_NAME] if isinstance(name, str) else ""

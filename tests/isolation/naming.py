"""What is asked for in bodies that no model declares: MCP's calls of tools, and A2A's messages."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.isolation.cases import Stage

MCP, SEND = "POST v1/mcp", "POST v1/a2a/agents/{agent_id}/message:send"
NEVER = "01900000-0000-7000-8000-00000000dead"
TOOLS = {  # with what each tool names what it is asked for, and whose id that is meant to be
    "get_execution": ("execution_id", "execution_id"),
    "run_agent": ("agent_id", "published agent"),
    "catalog_read": ("id", "element_id"),
    "catalog_neighbors": ("id", "element_id"),
}


@dataclass(frozen=True)
class Named:
    """One body, with the id that it names; `alike`: with which others it is answered the same. `params`: of the path,
    where they are not one's own.
    """

    where: str
    sent: str
    body: Any
    status: int
    alike: str | None
    leaves: bool = False
    params: Mapping[str, str] = field(default_factory=dict)


def named(stage: "Stage", key: str, *, all_of_them: bool) -> Iterator[Named]:
    """An id of the victim's as one that never was: the one that is meant, or each that there is."""
    if key == MCP:
        for tool, (argument, meant) in TOOLS.items():
            for what, id in _ids(stage, meant, all_of_them).items():
                given = {argument: id, **({"input": "Work."} if tool == "run_agent" else {})}
                yield Named(f"{tool}: {what}", id, called(tool, given), 200, f"tool {tool}")
        for tool, what in (("catalog_search", "element"), ("list_agents", "agent")):
            for where, name in {
                "a name that never was": "never",
                f"the victim's {what}": stage.victim.words[what],
            }.items():
                yield Named(f"{tool}: {where}", name, called(tool, {"name": name}), 200, f"tool {tool}")
    elif key == SEND:
        theirs = stage.victim.ids["published agent"]
        for what, id in _ids(stage, "task of it", all_of_them).items():
            told, of = message(f"to {id}", taskId=id), {"agent_id": theirs}
            yield Named(f"taskId: {what}", id, told, 404, "taskId")
            yield Named(f"their agent, taskId: {what}", f"{id}|{theirs}", told, 404, "taskId", params=of)
            yield Named(f"contextId: {what}", id, message(f"in {id}", contextId=id), 200, None, leaves=True)


def called(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def message(id: str, **fields: Any) -> dict[str, Any]:
    said = {"messageId": id, "role": "ROLE_USER", "parts": [{"text": "Work."}], **fields}
    return {"message": said, "configuration": {"returnImmediately": True}}


def _ids(stage: "Stage", meant: str, all_of_them: bool) -> dict[str, str]:
    ids = stage.victim.ids if all_of_them else {meant: stage.victim.ids[meant]}
    return {"an id that never was": NEVER, **{f"the victim's {what}": id for what, id in ids.items()}}

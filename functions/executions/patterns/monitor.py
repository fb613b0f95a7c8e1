"""The Monitor: a tool looks first; only when its rule trips is the model asked, with what was seen.

Its config: `tool` and its `arguments`; `rule`: `path` (dotted, into the tool's result), `op`, and `value` where the op
compares with one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from functions.executions.conversing import CUT
from functions.executions.models import Snapshot, Step
from functions.executions.patterns.conversation import asked, tool_loop
from functions.executions.patterns.next import Finish, Next, UseTool
from shared.ai.port import ToolCall

OBSERVED = "observed"
SHOWN_CHARACTERS = 16_000
SHOWN_VALUE = 500
NO_RULE = "This Monitor has no rule: its config needs `tool`, `arguments`, and `rule` with `path`, `op` and `value`."
TOO_LONG = (
    "The tool answered more than a Monitor looks at, so its rule cannot be told; have the tool say less (`arguments`)."
)
MISSING: Final = object()


def _compared(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def holds(seen: Any, value: Any) -> bool:
        try:
            return bool(compare(seen, value))
        except TypeError:  # a text is not larger than a number
            return False

    return holds


OPS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "empty": lambda seen, _: seen is MISSING or seen is None or seen in ("", [], {}),
    "nonempty": lambda seen, _: not OPS["empty"](seen, None),
    "eq": lambda seen, value: bool(seen == value),
    "ne": lambda seen, value: bool(seen != value),
    "gt": _compared(lambda seen, value: seen > value),
    "ge": _compared(lambda seen, value: seen >= value),
    "lt": _compared(lambda seen, value: seen < value),
    "le": _compared(lambda seen, value: seen <= value),
    "contains": _compared(lambda seen, value: value in seen),
}


def decide(snapshot: Snapshot, steps: Sequence[Step]) -> Next:
    rule, tool = snapshot.config.get("rule"), snapshot.config.get("tool")
    offered = next((one for one in snapshot.tools if one.name == tool), None)
    if not isinstance(rule, Mapping) or rule.get("op") not in OPS or offered is None:
        return Finish("failed", reason="misconfigured", error=NO_RULE)
    seen = next((step for step in steps if step.label == OBSERVED), None)
    if seen is None:
        arguments = snapshot.config.get("arguments")
        given = dict(arguments) if isinstance(arguments, Mapping) else {}
        return UseTool(ToolCall(OBSERVED, offered.called, given), label=OBSERVED)
    if seen.error is not None:
        return Finish("failed", seen.number, reason="tool_failed", error=seen.error.message)
    text = seen.messages[-1].text
    if text.endswith(CUT):  # no JSON any more: all of it would look empty
        return Finish("failed", seen.number, reason="tool_failed", error=TOO_LONG)
    value = _at(text, str(rule.get("path") or ""))
    if not OPS[rule["op"]](value, rule.get("value")):
        return Finish(output_step=seen.number, result={"tripped": False, "seen": _shown(value)})
    told = f"{asked(snapshot)}\n\nThe rule has tripped ({json.dumps(dict(rule))}). Seen:\n{text[:SHOWN_CHARACTERS]}"
    rest = [step for step in steps if step.number > seen.number]
    following = tool_loop(snapshot.model_copy(update={"input": told, "context": {}}), rest, agents=True)
    if isinstance(following, Finish):
        return Finish(following.status, following.output_step, {"tripped": True}, following.reason, following.error)
    return following


def _at(text: str, path: str) -> Any:
    """What is at a path in JSON; a list's items by number. `MISSING` where there is nothing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text
    for part in path.split(".") if path else []:
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part[:6]) < len(value):
            value = value[int(part[:6])]
        else:
            return MISSING
    return value


def _shown(value: Any) -> str | None:
    """As JSON, as far as it can be kept: half a character cannot."""
    if value is MISSING:
        return None
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode()[:SHOWN_VALUE]

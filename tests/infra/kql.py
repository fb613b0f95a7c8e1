"""What a query in KQL names: tables, columns, properties, and the texts that it looks for. No more of the language.

Tables and columns as Application Insights keeps them in a workspace (https://learn.microsoft.com/azure/azure-monitor/
reference/tables/apprequests and its like), each with what of an envelope it is made of.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

ALWAYS = {"TimeGenerated": "time", "ItemCount": "sampleRate", "Properties": "properties"}
TABLES: Mapping[str, tuple[str, Mapping[str, str]]] = {  # table -> type of its envelopes, column -> field of the data
    "AppRequests": (
        "RequestData",
        {**ALWAYS, "Name": "name", "ResultCode": "responseCode", "DurationMs": "duration", "Success": "success"},
    ),
    "AppDependencies": (
        "RemoteDependencyData",
        {**ALWAYS, "DependencyType": "type", "Target": "target", "DurationMs": "duration", "Success": "success"},
    ),
    "AppEvents": ("EventData", {**ALWAYS, "Name": "name"}),
    "AppMetrics": ("MetricData", {**ALWAYS, "Name": "metrics", "Sum": "metrics"}),
    "AppExceptions": ("ExceptionData", {**ALWAYS, "ExceptionType": "exceptions"}),
}
WORDS = {
    *("where", "extend", "summarize", "project", "union", "let", "by", "and", "or", "in", "contains", "top", "order"),
    *("desc", "ago", "toint", "todouble", "tostring", "sum", "sumif", "arg_max", "percentile", "bin", "isnotempty"),
    *("true", "false"),
}
_TEXT = re.compile(r'"([^"]*)"')
_PROPERTY = re.compile(r"\bProperties\.(\w+)")
_WORD = re.compile(r"(?<![\w.{:])[A-Za-z_]\w*")


@dataclass
class Read:
    """One table of a query: `names` that it filters by, `wanted` values of properties, and what it reads."""

    table: str
    columns: set[str] = field(default_factory=set)
    properties: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)
    wanted: dict[str, set[str]] = field(default_factory=dict)


def reads(query: str) -> list[Read]:
    """Each table that is read, with what belongs to it; ValueError names a word that nothing explains."""
    text = "\n".join(line.partition("//")[0] if '"' not in line else line for line in query.splitlines())
    text = text.replace("{TimeRange:grain}", "1h")
    own = set(re.findall(r"\blet (\w+) =", text)) | set(re.findall(r"(?<![=!<>])\b(\w+) = ", text))
    found: list[Read] = []
    for line in text.splitlines():
        table = re.match(r"(?:let \w+ = )?([A-Z]\w+)$", line.strip())
        if table:
            found.append(Read(table[1]))
            continue
        if found:
            _take(found[-1], line, own)
    for one in found:
        if one.table not in TABLES:
            raise ValueError(f"there is no table {one.table}")
        unknown = one.columns - TABLES[one.table][1].keys()
        if unknown:
            raise ValueError(f"{one.table} has no {', '.join(sorted(unknown))}")
    return found


def _take(read: Read, line: str, own: set[str]) -> None:
    bare = _TEXT.sub('""', line)
    read.properties |= set(_PROPERTY.findall(bare))
    words = {word for word in _WORD.findall(bare) if not word.isupper()}
    read.columns |= {word for word in words if word not in WORDS and word not in own}
    texts = set(_TEXT.findall(line))
    if re.search(r"\bName == ", line):
        read.names |= texts
    elif re.search(r"\bName contains ", line):
        read.parts |= texts
    elif line.strip().startswith("| where") and (named := _PROPERTY.search(line)) and "!in" not in line:
        read.wanted.setdefault(named[1], set()).update(texts)

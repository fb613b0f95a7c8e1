"""The catalogue of problems: every `code` with its status, what it means, and what to do; made of the error classes."""

from dataclasses import dataclass
from html import escape

from shared.errors import FlowgridError, NotFound
from shared.http.problems import TITLES, status_of

HTML = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{code}</title>'
    '<meta name="viewport" content="width=device-width"></head><body>'
    "<h1>{title}</h1><p><code>{code}</code>, status {status}</p><p>{meaning}</p><p>{remedy}</p></body></html>"
)
HEAD = """# Problems

Errors are RFC 9457 problem details (`application/problem+json`). `code` names the cause: it is stable, and made for
programs. `type` is the path of a page that says what stands here; every deployment serves it itself. `detail` is about
the one call, and made for people; `error` says the same.

Made from the error classes by `make pages`.

| code | status | what it means | what to do |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Entry:
    """One code of the catalogue."""

    code: str
    status: int
    meaning: str
    remedy: str


def entries() -> dict[str, Entry]:
    """Every code of the errors that this process has loaded, by status and name."""
    found = [Entry(cls.code, status_of(cls), cls.meaning, cls.remedy) for cls in _tree(FlowgridError)]
    return {entry.code: entry for entry in sorted(found, key=lambda entry: (entry.status, entry.code))}


def html(code: str) -> str:
    """The page of one code, as HTML; `NotFound` for one that there is not."""
    entry = entries().get(code)
    if entry is None:
        raise NotFound("There is no such problem.")
    said = {name: escape(str(value)) for name, value in vars(entry).items()}
    return HTML.format_map({**said, "title": TITLES[entry.status]})


def markdown() -> str:
    """The whole catalogue, as `docs/problems.md` holds it."""
    rows = (f"| `{one.code}` | {one.status} | {one.meaning} | {one.remedy} |\n" for one in entries().values())
    return HEAD + "".join(rows)


def _tree(root: type[FlowgridError]) -> list[type[FlowgridError]]:
    return [root, *(one for child in root.__subclasses__() for one in _tree(child) if "code" in vars(child))]

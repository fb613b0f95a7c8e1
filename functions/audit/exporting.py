"""The trail as a file: JSON lines, or CSV (RFC 4180) for spreadsheets. Bounded; a longer trail is several files."""

import asyncio
import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from functions.audit.models import AuditEntry
from shared.database.port import Stored
from shared.http.spreadsheets import cell
from shared.tenancy.fence import AUDIT
from shared.work.resources import MAX_PAGE_BYTES, PageRequest, bounded_page
from shared.work.session import TenantSession

PAGE_ITEMS = 200
COLUMNS = tuple(name for name in AuditEntry.model_fields if name != "tenant_id")
HEADER = ",".join(COLUMNS).encode() + b"\r\n"


async def export(
    tenant: TenantSession, filters: Mapping[str, Any], wanted: PageRequest, *, as_csv: bool
) -> tuple[bytes, int, tuple[str, str] | None]:
    """The file, how many entries are in it, and where the next one begins.

    As many entries as are wanted, or as make some megabytes.
    """
    text, after, left = bytearray(HEADER if as_csv else b""), wanted.after, wanted.limit
    while True:
        part = PageRequest(min(left, PAGE_ITEMS), after, wanted.order, wanted.where)
        page = await bounded_page(tenant.store, AUDIT, filters, part)
        text += await asyncio.to_thread(_as_csv if as_csv else _as_lines, page.items)
        after, left = page.next, left - len(page.items)
        if after is None or left <= 0 or len(text) >= MAX_PAGE_BYTES:
            return bytes(text), wanted.limit - left, after


def _as_lines(entries: Sequence[Stored]) -> bytes:
    return b"".join(AuditEntry.model_validate(one.body).model_dump_json().encode() + b"\n" for one in entries)


def _as_csv(entries: Sequence[Stored]) -> bytes:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")
    for one in entries:
        entry = AuditEntry.model_validate(one.body).model_dump(mode="json")
        table.writerow([cell(_text(entry[name])) for name in COLUMNS])
    return text.getvalue().encode()


def _text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value

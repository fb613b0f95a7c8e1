"""What nothing asks by (`Kind.packed`) as one compressed text: Cosmos DB is paid by the byte, for a year in the audit.

Raw deflate (RFC 1951) with a preset dictionary, in base64. The port shows the fields as ever, so signatures, seals and
backups know nothing of it; what was stored before is read as it lies. A packed document's `schema` is one more than its
kind's: a release that cannot unpack refuses it, instead of taking what it does not see for nothing.
"""

import base64
import binascii
import json
import zlib
from typing import Any

from pydantic_core import to_json

from shared.database.limits import encode
from shared.database.port import Document
from shared.errors import Invalid
from shared.kinds import Kind

PACKED = "packed"
MOST_BYTES = 16 * 1024  # of JSON: a millisecond of the event loop; what is larger, as few are, stays as it is
LEVEL = 6
RAW = -15  # no header and no checksum: the audit has signatures

# What these texts are full of, the most frequent last. Never changed: all that is stored is read by it.
DICTIONARY = (
    b'"Orchestrator""Specialist""Monitor""Router""Evaluator""active""draft""retired""BusinessProcess"'
    b'"ApplicationComponent""Business""Application""Technology""succeeded""queued""running""failed"'
    b'"languages":[],"translations":{},"source_identifier":null,"model_id":null,"layer":"","type":""'
    b'"access_type":null,"influence":null,"is_directed":null,"source_id":"","target_id":"","properties":{},'
    b'"issuer":"https://","subject":"","last_login_at":"","email":"","role":"user",'
    b'"agent_id":"","input":"","output":null,"error":null,"limits":{"steps":100,"tokens":'
    b'"old_value":{"id":"01a2","tenant_id":"01a2","revision":1,"created_at":"2026-","updated_at":"2026-",'
    b'"created_by":"","updated_by":"","name":"","description":"","pattern":"Orchestrator","provider":"offline",'
    b'"model":"","instructions":"","tools":[],"config":{},"element_id":null,"schedule":null,"status":"draft",'
    b'"legacy_id":null},"new_value":{"id":"0.000000Z"'
    b'{"revision":2,"old_value":null,"new_value":null,"value_schema":3,"ip_address":"","user_agent":"Mozilla/5.0 (",'
    b'"request_id":"01a2","key_id":"","mac":"'
)


def packed(kind: Kind, document: Document) -> Document:
    """The document as it is stored: packed where that is shorter."""
    fields = {name: document[name] for name in kind.packed if name in document}
    text = to_json(fields)
    if not fields or len(text) > MOST_BYTES:
        return document
    deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, RAW, zdict=DICTIONARY)
    short = base64.b64encode(deflate.compress(text) + deflate.flush()).decode()
    if len(short) >= len(text):
        return document
    rest = {name: value for name, value in document.items() if name not in fields}
    return {**rest, "schema": kind.schema + 1, PACKED: short}


def unpacked(kind: Kind, document: Document) -> Document:
    """The document as it was written; where its text is not as it was, with what stands for each field of it."""
    if not kind.packed or PACKED not in document:
        return document
    rest = {name: value for name, value in document.items() if name != PACKED}
    schema = {"schema": rest["schema"] - 1} if isinstance(rest.get("schema"), int) else {}
    return {**rest, **schema, **(_fields(kind, document[PACKED]) or kind.packed)}


def _fields(kind: Kind, short: Any) -> Document | None:
    """The fields; None for what nobody has packed."""
    inflate = zlib.decompressobj(RAW, zdict=DICTIONARY)
    try:
        text = inflate.decompress(base64.b64decode(short, validate=True), MOST_BYTES)
        found = json.loads(text) if inflate.eof and not inflate.unused_data else None
        if not isinstance(found, dict) or not found.keys() <= kind.packed.keys():
            return None
        encode(found)  # refuses what no store would keep: half a character, too deep, too large a number
    except (Invalid, TypeError, ValueError, binascii.Error, zlib.error, RecursionError):
        return None
    return found

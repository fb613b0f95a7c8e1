"""Signatures of the audit trail: HMAC-SHA-256 over canonical JSON, by a key of the tenant's own.

One key of the platform lies in the secret store; each tenant's is derived from it (HKDF, RFC 5869) and held by the
process, so that a signature takes no call. The registry says which keys there are and which one signs: each lies under
a name that was never used, so whoever loses the race for the first one takes the other's. Old keys stay, to be checked
by. What is signed says by which (`key_id`, `mac`).
"""

import asyncio
import hashlib
import hmac
import json
import logging
import secrets as randomness
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.clock import Clock, rfc3339
from shared.database.port import Create, Database, Document, Rejected, Replace, Stored
from shared.errors import Conflict, Contended, FlowgridError, NotFound, Unavailable
from shared.ids import PLATFORM_TENANT_ID
from shared.secrets.port import Secrets, reference
from shared.telemetry.log import reason_of
from shared.tenancy.directory import RESERVATION

logger = logging.getLogger("flowgrid.audit")
KEYS = "audit-keys"  # the registry's item
KEY_BYTES = 32
MAX_KEYS = 100
AT_ONCE_BYTES = 2000  # from 2048 on hashlib lets other threads in, and this one has to wait for its turn
MOST_DERIVED = 10_000  # keys of tenants that a process holds
LOOKED_AGAIN_SECONDS = 3600.0  # so long a key that was made elsewhere may sign nothing here
EXACT = 2**53  # below it every whole number is a double
Told = Callable[[str, str], Awaitable[None]]  # the ids of the key that signs, and of the new one
Purpose = Literal["entry", "segment", "head"]
Verdict = Literal["good", "unsigned", "forged", "unknown_key"]
_NOT_COVERED = {"kind", "schema", "ttl", "mac"}  # the store's own, and the signature itself
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False).encode


class AuditKey(BaseModel):
    """A version of the key; never the key itself."""

    model_config = ConfigDict(defer_build=True)

    id: str = Field(description="What entries call it (`key_id`).")
    created_at: str = Field(description="When it was made.")


class AuditKeys(BaseModel):
    """The keys that audit entries are signed by."""

    model_config = ConfigDict(defer_build=True)

    current: str = Field(description="The one that signs; instances follow within the hour.")
    keys: list[AuditKey] = Field(description="All of them, the oldest first; the older ones only check.")


class Signatures:
    """Signs and checks; `ready` before the first of either. `Unavailable` while no key can be had."""

    def __init__(self, secrets: Secrets, database: Database, clock: Clock) -> None:
        self._space = secrets.space(PLATFORM_TENANT_ID)
        self._database = database
        self._clock = clock
        self._ring: dict[str, bytes] = {}
        self._derived: dict[tuple[str, str], hmac.HMAC] = {}  # each begun with its key
        self._current = ""
        self._looked = 0.0
        self._looking: asyncio.Future[None] | None = None

    async def ready(self) -> None:
        """A key is at hand. A process's first calls wait, all of them for one look; for later looks nobody waits."""
        if not self._current:
            await asyncio.shield(self._look())
        elif self._clock.monotonic() - self._looked >= LOOKED_AGAIN_SECONDS:
            self._looked = self._clock.monotonic()
            self._look().add_done_callback(_told)

    async def refresh(self) -> None:
        """As `ready`, and whatever had been made by this call is known: a look that began before it does not say so."""
        await self.close()
        await asyncio.shield(self._look())

    async def close(self) -> None:
        """Wait for a look that is under way."""
        if self._looking is not None:
            await asyncio.wait([self._looking])

    def signed(self, tenant_id: str, id: str, body: Mapping[str, Any], purpose: Purpose = "entry") -> Document:
        """The document with its signature."""
        if not self._current:
            raise Unavailable("The key of the audit trail is not loaded.")
        signed = {**body, "key_id": self._current}
        mac = self._mac(self._current, tenant_id, purpose, canonical(tenant_id, id, signed))
        return {**signed, "mac": mac}

    def check(self, tenant_id: str, id: str, body: Mapping[str, Any], purpose: Purpose = "entry") -> Verdict:
        """Whether the document is as it was signed."""
        mac, key_id = body.get("mac"), body.get("key_id")
        if mac is None and key_id is None:
            return "unsigned"
        if not isinstance(mac, str) or not isinstance(key_id, str):
            return "forged"
        if key_id not in self._ring:
            return "unknown_key"
        right = self._mac(key_id, tenant_id, purpose, canonical(tenant_id, id, body))
        return "good" if hmac.compare_digest(mac.encode(), right.encode()) else "forged"

    async def rotate(self, told: Told) -> AuditKeys:
        """A new key signs from now on: here at once, elsewhere within the hour. `Contended` when two do so at once.

        `told` writes who does so, before it is done: where that cannot be written, the old one goes on.
        """
        await self.ready()
        held = await self._held()
        if held is None:
            raise Unavailable("The keys of the audit trail cannot be read.")
        if len(held.body["keys"]) >= MAX_KEYS:
            raise Conflict(f"There are {MAX_KEYS} keys of the audit trail; each of them is needed to check by.")
        id = await self._made()
        await told(held.body["current"], id)
        keys = {**held.body["keys"], id: {"created_at": rfc3339(self._clock.now())}}
        try:
            changed = Replace(RESERVATION, KEYS, {**held.body, "current": id, "keys": keys}, held.etag)
            await self._database.platform.put(changed, PLATFORM_TENANT_ID)
        except Rejected as rejected:
            await self._space.delete(reference(_name(id)))
            raise Contended("Another new key has just been made.") from rejected
        await self.refresh()
        return AuditKeys(current=id, keys=[AuditKey(id=one, **said) for one, said in keys.items()])

    def _look(self) -> "asyncio.Future[None]":
        """One look at a time, whoever asks."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._load())
        return self._looking

    async def _load(self) -> None:
        held = await self._held() or await self._begun()
        for id in held.body["keys"]:
            if id not in self._ring:
                try:
                    self._ring[id] = bytes.fromhex(await self._space.get(reference(_name(id))))
                except NotFound:
                    logger.error("a key of the audit trail is lost", extra={"key_id": id})
        current = str(held.body["current"])
        if current not in self._ring:
            raise Unavailable("The key of the audit trail is not in the secret store.")
        await asyncio.to_thread(_derive, self._ring[current], "")  # the library is loaded beside the event loop
        self._current, self._looked = current, self._clock.monotonic()

    async def _held(self) -> Stored | None:
        return await self._database.platform.latest(RESERVATION, PLATFORM_TENANT_ID, KEYS)

    async def _begun(self) -> Stored:
        id, now = await self._made(), rfc3339(self._clock.now())
        body = {"created_at": now, "current": id, "keys": {id: {"created_at": now}}}
        try:
            await self._database.platform.put(Create(RESERVATION, KEYS, body), PLATFORM_TENANT_ID)
        except Rejected:  # another instance has made one, which is the key
            await self._space.delete(reference(_name(id)))
        held = await self._held()
        if held is None:
            raise Unavailable("The keys of the audit trail cannot be read.")
        return held

    async def _made(self) -> str:
        id = randomness.token_hex(4)
        await self._space.put(_name(id), randomness.token_hex(KEY_BYTES))
        return id

    def _mac(self, key_id: str, tenant_id: str, purpose: Purpose, text: bytes) -> str:
        begun = self._derived.get((key_id, tenant_id))
        if begun is None:
            if len(self._derived) >= MOST_DERIVED:
                self._derived.clear()
            key = _derive(self._ring[key_id], tenant_id)
            begun = self._derived[key_id, tenant_id] = hmac.new(key, digestmod=hashlib.sha256)
        mac = begun.copy()
        mac.update(purpose.encode() + b"\0")
        for start in range(0, len(text), AT_ONCE_BYTES):
            mac.update(text[start : start + AT_ONCE_BYTES])
        return mac.hexdigest()


def canonical(tenant_id: str, id: str, body: Mapping[str, Any]) -> bytes:
    """All of a document but what is the store's own, as one text: whatever store it was in, the same bytes.

    Keys in order, ASCII. A number is the double (IEEE 754) that it is read as, for a store may keep no more of it (RFC
    8259, 6) and write it in another way: whole ones below 2**53 as digits, the others in the shortest form that reads
    as the same double.
    """
    covered = {name: value for name, value in body.items() if name not in _NOT_COVERED and not name.startswith("_")}
    covered |= {"tenant_id": tenant_id, "id": id}
    return _ENCODE(_as_doubles(covered) if _has_other_numbers(covered.values()) else covered).encode()


def digest(tenant_id: str, body: Mapping[str, Any]) -> tuple[str, int]:
    """SHA-256 of an entry, its signature included, in hex; and how many bytes it is."""
    text = canonical(tenant_id, str(body["id"]), body)
    return hashlib.sha256(text + b"\0" + str(body.get("mac", "")).encode()).hexdigest(), len(text)


def _has_other_numbers(values: Iterable[Any]) -> bool:
    """Whether there are numbers that are not written as digits already."""
    for value in values:
        kind = type(value)
        if kind is str:  # most are
            continue
        if kind is float or (kind is int and not -EXACT < value < EXACT):
            return True
        if (kind is dict and _has_other_numbers(value.values())) or (kind is list and _has_other_numbers(value)):
            return True
    return False


def _as_doubles(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_doubles(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_doubles(inner) for inner in value]
    if isinstance(value, float):
        return int(value) if value.is_integer() and -EXACT < value < EXACT else value
    if isinstance(value, int) and not -EXACT < value < EXACT:
        with suppress(OverflowError):  # no double, and nothing that we write
            return float(value)
    return value


def _derive(key: bytes, tenant_id: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"flowgrid audit {tenant_id}".encode()).derive(key)


def _name(id: str) -> str:
    return f"audit-{id}"


def _told(look: "asyncio.Future[None]") -> None:
    error = None if look.cancelled() else look.exception()
    if error is not None:
        trace = None if isinstance(error, FlowgridError) else error
        logger.warning(
            "the keys of the audit trail were not looked at", exc_info=trace, extra={"reason": reason_of(error)}
        )

"""One call to Cosmos DB: bounded in time, tried again where that is safe, resolved by reading back where it is not."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from shared.database.cosmos.batch import MARK, Batch
from shared.database.cosmos.client import Account, Client
from shared.database.cosmos.query import Query, those
from shared.database.cosmos.retry import IdentityTrouble, NoContainer, Patience, Trouble, trouble_of
from shared.database.port import Document, Rejected
from shared.errors import FlowgridError, Unavailable, Unknown
from shared.tracing import Tell, calling, measure

if TYPE_CHECKING:
    from shared.database.cosmos.client import ContainerProxy

T = TypeVar("T")
OnCharge = Callable[[str, str, float], None]
RESOLVE_SECONDS = 3.0
KIND = "Azure DocumentDB"  # as Application Insights calls it


class Calls:
    """Point reads, queries and batches. `on_charge(tenant_id, operation, request units)` sees the cost of each.

    `tell`: is told of each attempt.
    """

    def __init__(
        self, account: Account, *, deadline: float, on_charge: OnCharge | None, tell: Tell | None = None
    ) -> None:
        self._account = account
        self._deadline = deadline
        self._on_charge = on_charge
        self._tell = tell

    async def read(self, place: tuple[str, str], key: str, id: str, payer: str) -> Document | None:
        """One point read; None when there is no such document."""

        async def read(client: Client, container: "ContainerProxy") -> Document | None:
            try:
                return dict(await container.read_item(id, key, **self._hooks(payer, "get")))
            except Exception as error:
                if getattr(error, "status_code", None) == 404 and not getattr(error, "sub_status", None):
                    self._charge(payer, "get", getattr(error, "headers", {}))
                    return None
                raise

        return await self._tried(read, place, Patience(self._deadline), payer, "get")

    async def latest(self, place: tuple[str, str], key: str, id: str, payer: str) -> Document | None:
        """The document as the primary has it; what this process reads of its partition afterwards is no older.

        By a batch, which is a write to the service, whatever it does. A read may be answered by a replica that is
        behind: after a write whose answer, with its session token, was lost, or where this process has done nothing
        yet (docs/decisions/0024).
        """

        async def read(client: Client, container: "ContainerProxy") -> Document | None:
            try:
                results = await container.execute_item_batch([("read", (id,), {})], key, **self._hooks(payer, "get"))
            except Exception as error:
                if getattr(error, "error_index", None) is None or error.status_code != 404:  # type: ignore[attr-defined]
                    raise
                client.remember(container, error.headers)  # type: ignore[attr-defined]
                self._charge(payer, "get", error.headers)  # type: ignore[attr-defined]
                return None
            client.remember(container, results.get_response_headers())
            return dict(results[0]["resourceBody"])

        return await self._tried(read, place, Patience(self._deadline), payer, "get")

    async def query(
        self, place: tuple[str, str], query: Query, key: str | None, payer: str, operation: str = "query"
    ) -> list[Document]:
        """All results of a query (which bounds them itself); `key` None: over all partitions.

        After a split in the middle of one the SDK begins again and yields what it has yielded before
        (`_fetch_items_helper_with_retries`), so each is taken once.
        """

        async def fetch(client: Client, container: "ContainerProxy") -> list[Document]:
            keyed: dict[str, Any] = {} if key is None else {"partition_key": key}
            found = container.query_items(
                query.text,
                parameters=query.parameters,
                max_item_count=1000,
                **self._hooks(payer, operation),
                **keyed,
            )
            return list({one.get("_rid") or one["id"]: dict(one) async for one in found}.values())

        return await self._tried(fetch, place, Patience(self._deadline), payer, operation)

    async def commit(self, place: tuple[str, str], key: str, batch: Batch, payer: str) -> str | None:
        """The batch, once; `Rejected` when it cannot be, `Unknown` when nobody can say whether it was.

        Returns the ETag that its last operation has left, None when the answer that held it was lost.
        """
        patience = Patience(self._deadline)
        doubt = False
        while True:
            try:
                return await self._attempt(self._sender(batch, key, payer), place, patience, payer, "commit")
            except Rejected:
                if not doubt or not await self._happened(batch, place, key, payer):
                    raise
                return None
            except FlowgridError as error:
                if not doubt:
                    raise
                await self._look_for(batch, place, key, payer, error)
                return None
            except Trouble as trouble:
                doubt = doubt or trouble.lost
                if doubt and not batch.guarded:
                    if await self._happened(batch, place, key, payer):
                        return None
                    if not batch.repeatable:
                        raise Unknown("The database did not say whether this was done.") from trouble
                try:
                    await patience.wait(trouble)
                except Unavailable:
                    if not doubt:
                        raise
                    await self._look_for(batch, place, key, payer, trouble)
                    return None

    def _sender(
        self, batch: Batch, key: str, payer: str
    ) -> Callable[[Client, "ContainerProxy"], Awaitable[str | None]]:
        async def send(client: Client, container: "ContainerProxy") -> str | None:
            try:
                results = await container.execute_item_batch(batch.wire(), key, **self._hooks(payer, "commit"))
            except Exception as error:
                position = getattr(error, "error_index", None)
                if position is not None:
                    client.remember(container, error.headers)  # type: ignore[attr-defined]
                    rejection = batch.rejection(error.status_code, position)  # type: ignore[attr-defined]
                    if rejection is not None:
                        self._charge(payer, "commit", error.headers)  # type: ignore[attr-defined]
                        raise rejection from error
                raise
            client.remember(container, results.get_response_headers())
            etag: str | None = results[-1].get("eTag")
            return etag

        return send

    async def _look_for(self, batch: Batch, place: tuple[str, str], key: str, payer: str, error: Exception) -> None:
        """Returns when it happened; `Unknown` otherwise, since it may still be on its way."""
        if not await self._happened(batch, place, key, payer):
            raise Unknown("The database did not say whether this was done.") from error

    async def _happened(self, batch: Batch, place: tuple[str, str], key: str, payer: str) -> bool:
        """Whether the store shows this batch's mark; `Unknown` when it does not answer, or no longer can tell."""
        try:
            witness = batch.witness()
            if witness is not None:
                found = await self._resolving().latest(place, key, witness, payer)
                if found is not None and found.get(MARK) != batch.mark and batch.superseded(found):
                    raise Unknown("Others have changed the same meanwhile; read it again.")
                return found is not None and found.get(MARK) == batch.mark
            if batch.deleted is None:
                return False
            await self._resolving().latest(place, key, batch.deleted[0], payer)  # what is asked next is no older
            return not await self._resolving().query(place, those(payer, batch.deleted), key, payer)
        except NoContainer:
            return False
        except Unknown:
            raise
        except Unavailable as error:
            raise Unknown("The database did not say whether this was done.") from error

    def _resolving(self) -> "Calls":
        return Calls(self._account, deadline=RESOLVE_SECONDS, on_charge=self._on_charge, tell=self._tell)

    async def _tried(
        self,
        work: Callable[[Client, "ContainerProxy"], Awaitable[T]],
        place: tuple[str, str],
        patience: Patience,
        payer: str,
        operation: str,
    ) -> T:
        while True:
            try:
                return await self._attempt(work, place, patience, payer, operation)
            except Trouble as trouble:
                await patience.wait(trouble)

    async def _attempt(
        self,
        work: Callable[[Client, "ContainerProxy"], Awaitable[T]],
        place: tuple[str, str],
        patience: Patience,
        payer: str,
        operation: str,
    ) -> T:
        """One attempt; `Trouble` when it failed for a reason that may pass."""
        database, container = place
        with calling(self._tell, KIND, database, f"{operation} {container}", payer, fine=Rejected):
            return await self._once(work, place, patience, payer, operation)

    async def _once(
        self,
        work: Callable[[Client, "ContainerProxy"], Awaitable[T]],
        place: tuple[str, str],
        patience: Patience,
        payer: str,
        operation: str,
    ) -> T:
        client: Client | None = None
        container: ContainerProxy | None = None
        try:
            client = await self._account.client(patience.left)
            async with asyncio.timeout(max(0.001, patience.left)):
                container = await client.container(*place)
                return await work(client, container)
        except (Rejected, Trouble, FlowgridError):
            raise
        except TimeoutError as error:
            raise Trouble("no answer in time", lost=container is not None) from error
        except Exception as error:
            trouble = trouble_of(error)
            if trouble is None:
                raise
            self._charge(payer, operation, getattr(error, "headers", None) or {})
            if isinstance(trouble, IdentityTrouble) and client is not None:
                await self._account.renew(client)
            elif isinstance(trouble, NoContainer) and client is not None:
                client.forget(*place)
            elif isinstance(trouble, Trouble) and container is None:
                trouble.lost = False  # no client, or no container yet: nothing was sent
            raise trouble from error

    def _hooks(self, payer: str, operation: str) -> dict[str, Any]:
        def charge(headers: Mapping[str, Any], *_: Any) -> None:
            self._charge(payer, operation, headers)

        return {"response_hook": charge, "raw_response_hook": _not_again}

    def _charge(self, payer: str, operation: str, headers: Mapping[str, Any]) -> None:
        charge = float(headers.get("x-ms-request-charge", 0) or 0)
        measure("requestUnits", charge)
        if self._on_charge is not None and charge:
            self._on_charge(payer, operation, charge)


def _not_again(response: Any) -> None:
    """What the SDK would mend by itself, it does not see: `_attempt` does.

    After 503 it sends a write again (_service_unavailable_retry_policy.py), which may have been done; after 404/1002, a
    replica that is behind, it throws the session token away (_session_retry_policy.py) and believes the next.
    """
    answer = response.http_response
    if answer.status_code == 503:
        raise Trouble("the database answered 503/0", lost=True)
    if answer.status_code == 404 and answer.headers.get("x-ms-substatus") == "1002":
        raise Trouble("the database answered 404/1002: the replica is behind")

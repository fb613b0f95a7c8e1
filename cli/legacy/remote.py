"""A Flowgrid that is reached by its API as a target, with the token of a tenant's admin, or of staff.

A tenant's token is of one tenant. Staff may make the default one, and open themselves a grant for each that they
write into, of which it is told. A row again is the same item, so a call whose answer is lost is simply sent again.
"""

import json
from typing import Any, Final

from cli.api import Api
from cli.errors import CliError
from cli.legacy.target import LATER, Place, Target
from cli.patience import answered
from functions.migration.models import MODELS, Digests, Finished, Look, Migration, NewMigration, Outcome, Outcomes, Rows
from functions.tenants.default import SLUG
from shared.ids import DEFAULT_TENANT_ID, is_uuid

MOST_BYTES: Final = 900 * 1024
MOST_VALUES: Final = 9_000
"""Both a little below what a JSON body may have (docs/limits.md)."""
TOO_LARGE: Final = Outcome(
    outcome="refused",
    reason=f"it is larger than a call of the API may be ({MOST_BYTES:,} bytes, {MOST_VALUES:,} values of JSON)",
)
GRANT: Final = {"reason": "An old database is migrated (python -m cli migrate).", "minutes": 240}


class Gone(CliError):
    """It is not there: a 404."""


class Remote(Place):
    """`headers`: which tenant staff mean."""

    def __init__(self, api: Api, tenant_id: str, headers: dict[str, str]) -> None:
        self.tenant_id = tenant_id
        self._api = api
        self._headers = headers

    async def begin(self, new: NewMigration) -> Migration:
        return Migration.model_validate(await self._post("v1/migrations", new.model_dump()))

    async def take(self, run: str, rows: Rows) -> Outcomes:
        """In as many calls as the bodies need; a row that fits into none is refused."""
        body = rows.model_dump_json()
        if _fits(body):
            return Outcomes.model_validate(await self._post(f"v1/migrations/{run}/rows", body))
        halves = [_half(rows, first) for first in (True, False)]
        if not all(any(getattr(half, table) for table in MODELS) for half in halves):
            return Outcomes.model_validate({table: [TOO_LARGE] * len(getattr(rows, table)) for table in MODELS})
        first, second = [await self.take(run, half) for half in halves]
        return Outcomes.model_validate({name: getattr(first, name) + getattr(second, name) for name in MODELS})

    async def look(self, run: str, asked: Look) -> Digests:
        return Digests.model_validate(await self._post(f"v1/migrations/{run}/digests", asked.model_dump()))

    async def finish(self, run: str, ended: Finished) -> Migration:
        return Migration.model_validate(await self._post(f"v1/migrations/{run}/finish", ended.model_dump()))

    async def undo(self, run: str) -> Migration:
        try:
            return Migration.model_validate(await self._post(f"v1/migrations/{run}/undo", None))
        except Gone as error:  # the answer that told of the end may have been lost
            told = "it is undone and nothing is left of it, or it is no run of this tenant"
            raise CliError(f"There is no run {run}: {told}.") from error

    async def _post(self, path: str, body: Any) -> Any:
        return await sent(self._api, "POST", path, body, self._headers)


class RemoteTarget(Target):
    at_once = 4

    def __init__(self, url: str, token: str, admin_email: str) -> None:
        self._api = Api(url.rstrip("/").removesuffix("/api"), token)
        self._admin_email = admin_email
        self._own: str | None = None

    async def place(self, tenant: str, *, make: bool = True) -> Place:
        known = await self._api.send("GET", "v1/platform/tenants", params={"slug": tenant}) if not self._own else None
        if known is None or known.status_code == 403:
            return await self._own_place(tenant)
        id = await self._as_staff(tenant, make=make)
        await sent(self._api, "POST", f"v1/platform/tenants/{id}/staff-access", GRANT, {})
        return Remote(self._api, id, {"x-tenant-id": id})

    async def close(self) -> None:
        await self._api.close()

    async def _own_place(self, tenant: str) -> Place:
        """The token's own tenant, which may be named as the default one; no other, and no second one."""
        if self._own not in (None, tenant):
            raise CliError(f"The token is of one tenant, and rows of {self._own!r} and {tenant!r} are to go into two.")
        own = (await sent(self._api, "GET", "v1/me", None, {}))["tenant"]
        if tenant not in (own["id"], own["slug"], SLUG, DEFAULT_TENANT_ID):
            raise CliError(f"The token is of the tenant {own['slug']!r}, and not of {tenant!r}.")
        self._own = tenant
        return Remote(self._api, str(own["id"]), {})

    async def _as_staff(self, tenant: str, *, make: bool) -> str:
        if not is_uuid(tenant):
            query = {"slug": tenant}
            found = await sent(self._api, "GET", "v1/platform/tenants", None, {}, query)
            if found["items"] and not (make and found["items"][0]["id"] == DEFAULT_TENANT_ID):
                return str(found["items"][0]["id"])
        if make and tenant in (SLUG, DEFAULT_TENANT_ID):  # an onboarding that stopped half-way is finished so
            body = {"admin_email": self._admin_email}
            return str((await sent(self._api, "POST", "v1/platform/default-tenant", body, {}))["id"])
        if is_uuid(tenant):
            return tenant
        raise CliError(f"There is no tenant with the slug {tenant!r}.")


async def sent(
    api: Api, method: str, path: str, body: Any, headers: dict[str, str], query: dict[str, str] | None = None
) -> Any:
    """The answer's JSON; again after what passes, as `Retry-After` says. CliError for what does not pass."""
    content = body if isinstance(body, str) else None if body is None else json.dumps(body)
    typed = {"content-type": "application/json"} if content is not None else {}
    options: dict[str, Any] = {"content": content, "headers": {**headers, **typed}, "params": query}
    answer = await answered(api, method, path, later=LATER, **options)
    if answer.is_error:
        raise (Gone if answer.status_code == 404 else CliError)(
            f"{method} {path}: {answer.status_code} {answer.text[:300]}"
        )
    return answer.json()


def _fits(body: str) -> bool:
    """Into one call. What marks values may stand in texts, so many marks are counted as what they are."""
    if len(body.encode()) > MOST_BYTES:
        return False
    return sum(map(body.count, ",[{")) <= MOST_VALUES or _values(json.loads(body)) <= MOST_VALUES


def _values(document: Any) -> int:
    count, waiting = 0, [document]
    while waiting:
        one = waiting.pop()
        inner = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        count += len(inner)
        waiting += inner
    return count


def _half(rows: Rows, first: bool) -> Rows:
    halves: dict[str, Any] = {}
    for table in MODELS:
        some = getattr(rows, table)
        middle = (len(some) + 1) // 2
        halves[table] = some[:middle] if first else some[middle:]
    return rows.model_copy(update=halves)

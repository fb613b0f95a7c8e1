"""A tenant behind an API, with the token of its admin, or of staff, who open themselves a grant that it is told of."""

from collections.abc import AsyncIterator
from typing import Any, Final

import httpx

from cli.api import PAGE, Api
from cli.errors import CliError
from cli.invitations.tenant import LATER, FullError, Guests, RefusedError
from cli.patience import answered
from functions.audit.models import AuditEntry
from functions.identity.models import NewUser
from functions.usage.quotas import Quota
from shared.ids import Uuid7Ids, is_uuid
from shared.members.users import User

GRANT: Final = {"reason": "Users are invited from a file (python -m cli invite).", "minutes": 60}


class RemoteGuests(Guests):
    """`headers`: which tenant staff mean."""

    def __init__(self, api: Api, tenant_id: str, headers: dict[str, str]) -> None:
        self.tenant_id = tenant_id
        self._api = api
        self._headers = headers
        self._ids = Uuid7Ids()

    @classmethod
    async def opened(cls, api: Api, tenant: str) -> "RemoteGuests":
        """The token's own tenant, if that is the one; any, for staff."""
        found = await _sent(api, "GET", "v1/platform/tenants", params={} if is_uuid(tenant) else {"slug": tenant})
        if found.status_code != 403:
            id = tenant if is_uuid(tenant) else next((one["id"] for one in _json(found)["items"]), None)
            if id is None:
                raise CliError(f"There is no tenant with the slug {tenant!r}.")
            _json(await _sent(api, "POST", f"v1/platform/tenants/{id}/staff-access", json=GRANT))
            return cls(api, id, {"x-tenant-id": id})
        me = _json(await _sent(api, "GET", "v1/me"))["tenant"]
        if tenant not in (me["id"], me["slug"]):
            raise CliError(f"The token is of the tenant {me['slug']!r}, and not of {tenant!r}.")
        return cls(api, str(me["id"]), {})

    async def users(self) -> AsyncIterator[User]:
        async for item in self._all("v1/users", {}):
            yield User.model_validate(item)

    async def removals(self) -> AsyncIterator[AuditEntry]:
        async for item in self._all("v1/audit", {"action": "user.deleted"}):
            yield AuditEntry.model_validate(item)

    async def quota(self) -> Quota:
        found = _json(await self._sent("GET", "v1/quotas"))
        return next(Quota.model_validate(one) for one in found["items"] if one["resource"] == "users")

    async def invite(self, new: NewUser) -> bool:
        """A call whose answer is lost is sent again under the same key, and so answered as it was."""
        key = {"idempotency-key": self._ids.new()}
        answer = await self._sent("POST", "v1/users", json=new.model_dump(), headers=key)
        if answer.status_code == 409 and _code(answer) != "contended":
            return False
        if answer.status_code == 429:
            told = answer.json()
            raise FullError(f"{told['detail']}: {told['current']} of {told['limit']}")
        if answer.is_error:
            raise RefusedError(str(_detail(answer)))
        return True

    async def close(self) -> None:
        await self._api.close()

    async def _all(self, path: str, query: dict[str, str]) -> AsyncIterator[Any]:
        asked = {"limit": str(PAGE), **query}
        while True:
            found = _json(await self._sent("GET", path, params=asked))
            for item in found["items"]:
                yield item
            if found["next_cursor"] is None:
                return
            asked["cursor"] = found["next_cursor"]

    async def _sent(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
        return await _sent(self._api, method, path, headers={**self._headers, **(headers or {})}, **options)


async def _sent(api: Api, method: str, path: str, **options: Any) -> httpx.Response:
    """A full quota does not pass."""
    return await answered(
        api, method, path, later=LATER, final=lambda answer: _code(answer) == "quota_exceeded", told=_detail, **options
    )


def _json(answer: httpx.Response) -> Any:
    if answer.is_error:
        raise CliError(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {_detail(answer)}")
    return answer.json()


def _problem(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:  # of something in between
        return {}
    return found if isinstance(found, dict) else {}


def _code(answer: httpx.Response) -> Any:
    return _problem(answer).get("code")


def _detail(answer: httpx.Response) -> Any:
    return _problem(answer).get("detail") or answer.text[:300]

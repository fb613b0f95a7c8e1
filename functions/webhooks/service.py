"""The webhook service: which addresses a tenant may have called, and what signs the calls."""

import base64
import os
from typing import Any
from urllib.parse import urlsplit

from functions.webhooks.messages import nudge
from functions.webhooks.models import ABOUT_USERS, ROTATION, Line, Webhook, WebhookFields, stored
from shared.auth.scopes import KeyScope
from shared.clock import rfc3339
from shared.database.port import Create, Database, Rejected, Replace
from shared.errors import Contended, FieldError, Forbidden, Invalid, NotFound, ScopeNeeded
from shared.members.makers import Maker, maker_of
from shared.outgoing.addresses import Allowed, wrong_with
from shared.tenancy.directory import TENANT, Directory
from shared.work.change import Change
from shared.work.counting import begin_to_count
from shared.work.kept_secrets import KeptSecrets
from shared.work.resources import load
from shared.work.service import Patch, ResourceService
from shared.work.session import TRIES_AT_A_RACE, TenantSession

REFERENCES = ("secret_reference", "former_reference", "address_reference", "signing_reference")
SECRET_BYTES = 32  # Standard Webhooks: 24 to 64


class WebhookService(ResourceService[Webhook, WebhookFields]):
    """Its secret is made here, and shown once. `allowed`: private addresses that may be called."""

    model = Webhook

    def __init__(self, secrets: KeptSecrets, allowed: Allowed, database: Database, directory: Directory) -> None:
        self._secrets = secrets
        self._allowed = allowed
        self._registry = database.platform
        self._directory = directory

    async def create(self, tenant: TenantSession, new: WebhookFields) -> Webhook:
        """With its secret. `QuotaReached` beyond the plan's number."""
        self._check(new)
        vouched = _vouched(tenant, await maker_of(tenant), new, None)
        await self._listen(tenant)
        await begin_to_count(tenant, "webhooks")
        id, secret = tenant.services.ids.new(), _secret()
        kept = await self._secrets.put(tenant, Webhook.KIND, id, secret)
        own = {**_fields(new), **vouched, "secret_reference": kept, **await self._given(tenant, id, new, None)}
        change = tenant.change()
        made = change.create(Webhook, own, id=id)
        change.write(Create(Line.KIND, id, stored(Line(id=id, created_at=change.at))))
        for name in REFERENCES:
            await self._secrets.move(tenant, change, made, None, getattr(made, name))
        change.count("webhooks", +1, limit=tenant.plan.max_webhooks)
        return _showing(await change.commit(made), secret)

    async def replace(self, tenant: TenantSession, id: str, new: WebhookFields, if_match: str | None) -> Webhook:
        """All fields anew. `NotFound`; `Stale` by `if_match` (an ETag)."""
        return await self._change(tenant, id, lambda _: new, if_match)

    async def patch(self, tenant: TenantSession, id: str, patch: Patch[WebhookFields], if_match: str | None) -> Webhook:
        """RFC 7396. `NotFound`; `Stale` by `if_match` (an ETag)."""
        return await self._change(tenant, id, patch.onto, if_match)

    async def rotate(self, tenant: TenantSession, id: str, if_match: str | None) -> Webhook:
        """With its new secret. The former one signs as well for a day; the one before that no longer."""
        await load(tenant, Webhook, id)
        secret = _secret()
        kept = await self._secrets.put(tenant, Webhook.KIND, id, secret)

        def fields(old: Webhook) -> dict[str, Any]:
            until = rfc3339(tenant.services.clock.now() + ROTATION)
            return {"secret_reference": kept, "former_reference": old.secret_reference, "former_until": until}

        async def also(change: Change, old: Webhook, now: Webhook) -> None:
            await self._secrets.move(tenant, change, now, old.former_reference, kept)

        return _showing(
            await tenant.modify(Webhook, id, fields, if_match=if_match, also=also, action="rotated"), secret
        )

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Its secrets go with it; what waits for it is cancelled."""

        async def last(change: Change, old: Webhook) -> None:
            for name in REFERENCES:
                await self._secrets.move(tenant, change, old, getattr(old, name), None)
            change.count("webhooks", -1)
            nudge(change, tenant, id, urgent=True)

        await tenant.remove(Webhook, id, if_match=if_match, also=last)

    async def _change(self, tenant: TenantSession, id: str, sent: Any, if_match: str | None) -> Webhook:
        """`sent`: what is sent whole, or what a patch makes of the webhook as it is."""
        before = await self.get(tenant, id)
        before.check(if_match)
        first: WebhookFields = sent(before)
        self._check(first, before)
        maker = await maker_of(tenant)
        _vouched(tenant, maker, first, before)
        given = await self._given(tenant, id, first, before)

        def fields(old: Webhook) -> dict[str, Any]:
            new: WebhookFields = sent(old)
            self._check(new, old)
            vouched = _vouched(tenant, maker, new, old)
            return {**_fields(new), **vouched, **given, "off_reason": None if new.enabled else old.off_reason}

        async def also(change: Change, old: Webhook, now: Webhook) -> None:
            for name in given:
                await self._secrets.move(tenant, change, now, getattr(old, name), getattr(now, name))
            if old.enabled and not now.enabled:
                nudge(change, tenant, id, urgent=True)

        return await tenant.modify(Webhook, id, fields, if_match=if_match, also=also)

    async def _given(self, tenant: TenantSession, id: str, new: WebhookFields, old: Webhook | None) -> dict[str, str]:
        """References to the secrets that are sent: the address of a chat, and what its answers are signed with."""
        found: dict[str, str] = {}
        if new.format != "webhook" and (old is None or new.url != old.url):
            found["address_reference"] = await self._secrets.put(tenant, Webhook.KIND, id, new.url)
        if new.signing_secret:
            found["signing_reference"] = await self._secrets.put(tenant, Webhook.KIND, id, new.signing_secret)
        return found

    def _check(self, new: WebhookFields, old: Webhook | None = None) -> None:
        """`Invalid` with all that is wrong. No secret is repeated."""
        wrong = []
        if old is not None and new.format != old.format:
            wrong.append(FieldError("format", "is for ever; make another webhook", new.format))
        if new.approvals is not None and new.format == "webhook":
            wrong.append(FieldError("approvals", "belongs to slack and teams only", new.approvals))
        if new.signing_secret is not None and (new.format != "slack" or not new.signing_secret.isascii()):
            wrong.append(FieldError("signing_secret", "belongs to slack only, and is printable ASCII"))
        lacks = old is None or old.signing_reference is None
        if new.format == "slack" and new.approvals is not None and not new.signing_secret and lacks:
            wrong.append(FieldError("signing_secret", "is missing: without it nobody knows whose answer it is"))
        if what := wrong_with(new.url, self._allowed):
            wrong.append(FieldError("url", what, new.url if new.format == "webhook" else None))
        if len({*new.events}) < len(new.events):
            wrong.append(FieldError("events", "names one twice", new.events))
        if wrong:
            raise Invalid(wrong)

    async def _listen(self, tenant: TenantSession) -> None:
        """From now on what happens in the tenant is kept for its webhooks: elsewhere within five seconds."""
        if tenant.entry.webhooks:
            return
        for _ in range(TRIES_AT_A_RACE):
            held = await self._registry.latest(TENANT, tenant.id, tenant.id)
            if held is None:
                raise NotFound("There is no such tenant.")
            try:
                body = {**held.body, "webhooks": True}
                await self._registry.put(Replace(TENANT, tenant.id, body, held.etag), tenant.id)
            except Rejected:
                continue
            self._directory.forget(tenant.id)
            return
        raise Contended("Others keep changing this tenant at the same time; try again.")


def _vouched(tenant: TenantSession, maker: Maker | None, new: WebhookFields, old: Webhook | None) -> dict[str, Any]:
    """Who answers for the answers from its cards: whoever says where they go and as what they count.

    `ScopeNeeded` where the caller's key is not for what the webhook is told, or decides.
    """
    elsewhere = old is None or new.url != old.url
    listens = elsewhere or old is None or {*new.events} != {*old.events}
    counts = elsewhere or old is None or new.approvals != old.approvals or new.signing_secret is not None
    told = listens and any(one.startswith(ABOUT_USERS) for one in new.events)
    decides = counts and new.approvals is not None
    for scope, needed in ((KeyScope.MEMBERS, told), (KeyScope.EXECUTE, decides)):
        if needed and not tenant.caller.may(scope):
            raise ScopeNeeded(f"This needs the scope {scope}, which the API key lacks.")
    if decides and maker is None:
        raise Forbidden("Only a user of the tenant says as whom its cards are answered.")
    return {"maker": maker} if decides else {} if new.approvals else {"maker": None}


def _secret() -> str:
    return f"whsec_{base64.b64encode(os.urandom(SECRET_BYTES)).decode()}"


def _fields(new: WebhookFields) -> dict[str, Any]:
    """All but the secrets: of the address of a chat, the host."""
    shown = new.url if new.format == "webhook" else f"https://{urlsplit(new.url).netloc}"
    return {**new.model_dump(exclude={"signing_secret"}), "url": shown}


def _showing(webhook: Webhook, secret: str) -> Webhook:
    """After the commit: what is recorded of this answer is without the secret. That of a chat nobody needs."""
    return webhook if webhook.format != "webhook" else webhook.model_copy(update={"secret": secret})

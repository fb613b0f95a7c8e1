"""Answers from cards: a waiting run's call is approved or rejected, once, by whoever a webhook says counts as that.

Slack posts what was clicked, signed with the app's signing secret
(https://docs.slack.dev/authentication/verifying-requests-from-slack). A Teams card leads to a page that asks, and only
its form decides: what looks at links on its own approves nothing.
"""

import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, cast
from urllib.parse import parse_qs

from functions.webhooks.links import WRONG, Link, prove, unproved
from functions.webhooks.models import Webhook
from functions.webhooks.sending import keys_of
from shared.auth.caller import Caller, RequestInfo
from shared.auth.roles import Role
from shared.errors import Conflict, Forbidden, NotFound, Unauthenticated
from shared.http.routes import Content
from shared.ids import is_uuid
from shared.members.apikeys import ApiKeys
from shared.members.makers import check_maker
from shared.tenancy.directory import Directory
from shared.work.kept_secrets import KeptSecrets
from shared.work.scope import Services
from shared.work.session import TenantSession

logger = logging.getLogger("flowgrid.webhooks")
MAX_BODY_BYTES = 64 * 1024
WINDOW_SECONDS = 300
SLACK_SIGNATURE = "x-slack-signature"
SLACK_TIMESTAMP = "x-slack-request-timestamp"
NOT_SLACK = "This is not signed as this webhook's Slack app signs."
ROLES = {"user": Role.USER, "admin": Role.ADMIN}  # by `approvals`
Choice = Literal["approve", "reject"]
DONE = {"approve": "Approved. The run goes on.", "reject": "Rejected. The run goes on without this call."}
HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Flowgrid</title></head>
<body><h1>{title}</h1><p>{text}</p>{form}</body></html>
"""
FORM = """<form method="post"><button name="decision" value="approve">Approve</button>
<button name="decision" value="reject">Reject</button></form>"""
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
}
TAKEN = Content(b"", "text/plain; charset=utf-8")
Decide = Callable[[TenantSession, str, int, Choice, str], Awaitable[Any]]


@dataclass(frozen=True)
class Posted:
    """What came from Slack, as it came."""

    headers: Mapping[str, str]
    body: bytes


class Answering:
    """`decide`: what becomes of a waiting step, as if its session's caller had decided in Flowgrid."""

    def __init__(
        self, decide: Decide, secrets: KeptSecrets, directory: Directory, services: Services, keys: ApiKeys
    ) -> None:
        self._decide = decide
        self._secrets = secrets
        self._directory = directory
        self._services = services
        self._keys = keys

    async def from_slack(self, hook: str, posted: Posted, known: Callable[[], None]) -> Content:
        """`hook`: `<tenant>.<webhook>`. `Unauthenticated` for what is not Slack's of this webhook."""
        tenant_id, _, webhook_id = hook.partition(".")
        tenant, webhook = await self._webhook(tenant_id, webhook_id)
        secret = None
        if webhook.format == "slack" and webhook.signing_reference:
            secret = await self._secrets.get(tenant, webhook.signing_reference)
        self._verify(secret, posted)
        known()
        clicked = _clicked(posted.body)
        if clicked is None:
            return TAKEN
        choice, token, user = clicked
        link = unproved(token)
        if (link.tenant, link.webhook) != (tenant.id, webhook.id):
            raise Unauthenticated(WRONG, reason="another_webhook")
        await self._decided(tenant, webhook, link, token, choice, f"slack:{user}")
        return TAKEN

    async def ask(self, token: str, known: Callable[[], None]) -> Content:
        """The page that asks; it changes nothing."""
        link, _, _ = await self._of_page(token)
        known()
        return _html("A call waits for approval", f"Step {link.step} of run {link.execution}.", FORM)

    async def answer(self, token: str, body: bytes, known: Callable[[], None]) -> Content:
        """What its form has sent: decided once, whoever clicks twice."""
        link, tenant, webhook = await self._of_page(token)
        known()
        choice = _fields(body).get("decision", "")
        if choice not in DONE:
            return _html("Nothing was decided", "Go back and choose.", "")
        done = await self._decided(tenant, webhook, link, token, cast(Choice, choice), "teams")
        return _html("Decided", done, "")

    async def _of_page(self, token: str) -> tuple[Link, TenantSession, Webhook]:
        """What a page is about. A button of Slack's opens none: there Slack says who has clicked."""
        link = unproved(token)
        tenant, webhook = await self._webhook(link.tenant, link.webhook)
        if webhook.format != "teams":
            raise Unauthenticated(WRONG, reason="no_page")
        await self._prove(tenant, webhook, link, token)
        return link, tenant, webhook

    async def _decided(
        self, tenant: TenantSession, webhook: Webhook, link: Link, token: str, choice: Choice, by: str
    ) -> str:
        await self._prove(tenant, webhook, link, token)
        role = ROLES[cast(str, webhook.approvals)]
        caller = Caller(f"webhook:{webhook.id}:{by}"[:200], None, None, tenant.id, role)
        request = RequestInfo(self._services.ids.new(), "", "flowgrid-cards")
        session = TenantSession(tenant.entry, tenant.store, caller, request, self._services)
        try:
            await self._decide(session, link.execution, link.step, choice, "")
        except (Conflict, NotFound) as error:  # decided before, or over
            logger.info("a card was answered too late", extra={"tenant_id": tenant.id, "reason": error.message})
            return error.message
        return DONE[choice]

    async def _prove(self, tenant: TenantSession, webhook: Webhook, link: Link, token: str) -> None:
        now = self._services.clock.now()
        if webhook.approvals is None:
            raise Unauthenticated(WRONG, reason="no_approvals")
        prove(token, link, await keys_of(self._secrets, tenant, webhook, now), now)
        try:
            await check_maker(tenant, webhook.maker, self._keys, ROLES[webhook.approvals])
        except Forbidden:
            raise Unauthenticated(WRONG, reason="maker") from None

    async def _webhook(self, tenant_id: str, webhook_id: str) -> tuple[TenantSession, Webhook]:
        """Of a tenant that is open, and not switched off: the same refusal for all else."""
        named = is_uuid(tenant_id) and is_uuid(webhook_id)
        entry = await self._directory.entry(tenant_id) if named else None
        if entry is not None and entry.status in ("active", "trial"):
            store = self._directory.open(entry)
            found = await store.get(Webhook.KIND, webhook_id)
            if found is not None and found.body["enabled"]:
                caller = Caller(f"webhook:{webhook_id}", None, None, entry.id, None)
                request = RequestInfo("", "", "flowgrid-cards")
                session = TenantSession(entry, store, caller, request, self._services)
                return session, Webhook.model_validate(found.body)
        raise Unauthenticated(WRONG, reason="no_webhook")

    def _verify(self, secret: str | None, posted: Posted) -> None:
        at, shown = posted.headers.get(SLACK_TIMESTAMP, ""), posted.headers.get(SLACK_SIGNATURE, "")
        body = posted.body
        if not (secret and at.isascii() and at.isdigit() and len(at) <= 12 and len(body) <= MAX_BODY_BYTES):
            raise Unauthenticated(NOT_SLACK, reason="no_signature")
        if not hmac.compare_digest(shown.encode(errors="replace"), slack_signature(secret, at, body)):
            raise Unauthenticated(NOT_SLACK, reason="signature")
        if abs(self._services.clock.now().timestamp() - int(at)) > WINDOW_SECONDS:
            raise Unauthenticated(NOT_SLACK, reason="replayed")


def slack_signature(secret: str, at: str, body: bytes) -> bytes:
    """`v0=` and the HMAC in hex, of `v0:<unix seconds>:<body>`."""
    return b"v0=" + hmac.digest(secret.encode(), f"v0:{at}:".encode() + body, "sha256").hex().encode()


def _clicked(body: bytes) -> tuple[Choice, str, str] | None:
    """Which button, what it carries, and who has clicked; None for what is none of ours."""
    try:
        payload = json.loads(_fields(body)["payload"])
        action, user = payload["actions"][0], str(payload["user"]["id"])
        choice, token = action["action_id"], action["value"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return (choice, token, user) if choice in DONE and isinstance(token, str) else None


def _fields(body: bytes) -> dict[str, str]:
    if len(body) > MAX_BODY_BYTES:
        return {}
    try:
        found = parse_qs(body.decode(errors="replace"), max_num_fields=20)
    except ValueError:  # too many
        return {}
    return {name: values[0] for name, values in found.items()}


def _html(title: str, text: str, form: str) -> Content:
    html = HTML.format(title=escape(title), text=escape(text), form=form)
    return Content(html.encode(), "text/html; charset=utf-8", headers=HEADERS)

"""One call of a webhook, as Standard Webhooks 1.0 has it (https://github.com/standard-webhooks/standard-webhooks)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import to_json

from functions.webhooks import cards
from functions.webhooks.links import Link
from functions.webhooks.models import LONGEST_PAUSE, SECONDS, WAITING, Delivery, Webhook
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.outgoing.client import Outgoing
from shared.outgoing.errors import OutgoingFailed
from shared.version import VERSION
from shared.work.kept_secrets import KeptSecrets
from shared.work.session import TenantSession

MAX_ANSWER_BYTES = 64 * 1024  # none of which is read
GONE = 410
KEYLESS = "Its secret is not kept any more; make a new one."


@dataclass(frozen=True)
class Answered:
    """What has come of a call; `retry_after` in seconds, 0 where nothing was asked for."""

    at: str
    milliseconds: int
    status: int | None = None
    error: str | None = None
    retry_after: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Ready:
    """A webhook, with what signs its messages, and where they go; nothing of which may be kept any more."""

    webhook: Webhook
    keys: list[str] = field(repr=False)
    url: str | None = field(repr=False)


class Sender:
    """Calls what a tenant names through the guarded client: no private address, no redirect, fifteen seconds."""

    def __init__(self, outgoing: Outgoing, secrets: KeptSecrets, clock: Clock, public_url: str = "") -> None:
        self._public_url = public_url
        self._outgoing = outgoing
        self._secrets = secrets
        self._clock = clock

    async def ready(self, tenant: TenantSession, webhook: Webhook) -> Ready:
        """What calls of this webhook need. `Unavailable` while a secret cannot be read."""
        keys = await keys_of(self._secrets, tenant, webhook, self._clock.now())
        reference = webhook.address_reference
        url = webhook.url if reference is None else await self._secrets.get(tenant, reference)
        return Ready(webhook, keys, url)

    async def send(self, ready: Ready, delivery: Delivery) -> Answered:
        """Never raises for what the receiver does."""
        now, since = self._clock.now(), self._clock.monotonic()
        webhook, keys, url = ready.webhook, ready.keys, ready.url
        if not keys or not url:
            return Answered(rfc3339(now), 0, error=KEYLESS)
        body = to_json(delivery.payload if webhook.format == "webhook" else self._card(webhook, delivery, keys[0]))
        headers = {"content-type": "application/json", "user-agent": f"Flowgrid/{VERSION}"}
        if webhook.format == "webhook":
            headers |= signed(keys, delivery.event_id, now, body)
        status, error, wait = await self._call(url, headers, body, now)
        return Answered(rfc3339(now), int((self._clock.monotonic() - since) * 1000), status, error, wait)

    def _card(self, webhook: Webhook, delivery: Delivery, key: str) -> dict[str, Any]:
        """A waiting run's can be answered, where the webhook says as whom."""
        payload, token = delivery.payload, None
        about = payload["data"].get("object") or {}
        if webhook.approvals and delivery.type == WAITING and about.get("until"):
            link = Link(payload["tenant_id"], webhook.id, about["id"], about["step"], about["until"])
            token = link.signed(key)
        card = cards.slack if webhook.format == "slack" else cards.teams
        return card(payload, token, self._public_url)

    async def _call(
        self, url: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> tuple[int | None, str | None, float]:
        import httpx2

        client = self._outgoing.client(max_bytes=MAX_ANSWER_BYTES, seconds=SECONDS)
        try:
            async with asyncio.timeout(SECONDS), client.stream("POST", url, headers=headers, content=body) as answer:
                return answer.status_code, None, retry_after(answer.headers.get("Retry-After"), now)
        except TimeoutError:
            return None, f"There was no answer within {SECONDS:g} s.", 0.0
        except OutgoingFailed as error:
            return None, str(error), 0.0
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # without its text, which may repeat the address
            return None, type(error).__name__, 0.0


async def keys_of(secrets: KeptSecrets, tenant: TenantSession, webhook: Webhook, now: datetime) -> list[str]:
    """The secret, and during a rotation the former one: a receiver takes either, and so do we."""
    references = [webhook.secret_reference]
    if webhook.former_reference and webhook.former_until and rfc3339(now) < webhook.former_until:
        references.append(webhook.former_reference)
    found = [await secrets.get(tenant, reference) for reference in references]
    return [key for key in found if key]


def signed(keys: list[str], id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The three headers; `at` in UTC."""
    from standardwebhooks import Webhook as Signer

    signatures = [Signer(key).sign(id, at, body.decode()) for key in keys]
    return {
        "webhook-id": id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def retry_after(value: str | None, now: datetime) -> float:
    """Seconds, bounded (RFC 9110 §10.2.3); 0 for what is none."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        seconds = float(text[:9])
    else:
        try:
            seconds = (parse_rfc3339(parsedate_to_datetime(text).isoformat()) - now).total_seconds()
        except (TypeError, ValueError, OverflowError):  # of a year that no clock has
            return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE.total_seconds())

"""What an agent's `provider` and `model` stand for: a connection with its key, and the model's whole name."""

from collections.abc import Sequence

from functions.providers.models import Provider
from functions.providers.service import provider_id
from shared.ai.names import OFFLINE, PLATFORM
from shared.ai.port import Connection, ModelRefused
from shared.errors import Invalid, NotFound
from shared.ids import PLATFORM_TENANT_ID
from shared.secrets.port import Secrets, reference
from shared.settings import Settings
from shared.work.session import TenantSession


class Connections:
    """Of tenants, and the platform's own by the settings FLOWGRID_AI_*."""

    def __init__(self, secrets: Secrets, settings: Settings) -> None:
        self._secrets = secrets
        self._settings = settings

    async def resolve(self, session: TenantSession, provider: str, model: str) -> tuple[Connection, str]:
        """`provider`: `offline`, `platform`, or the name of one of the tenant's; `model` empty: its default.

        `Invalid` when there is none of this name, or it may not be used, or not with this model; `ModelRefused` when
        its key is gone.
        """
        allowed = session.entry.ai_providers
        if allowed is not None and provider not in allowed:
            raise Invalid.of("provider", f"may not be used by this tenant, but {_named(allowed)}", provider)
        if provider == OFFLINE:
            return Connection("offline", OFFLINE), model or OFFLINE
        if provider == PLATFORM:
            return await self._own(model)
        stored = await session.store.get(Provider.KIND, provider_id(provider))
        if stored is None:
            raise Invalid.of(
                "provider", "is neither offline, platform, nor the name of one of your providers", provider
            )
        found = Provider.model_validate(stored.body)
        chosen = _chosen(found.models, found.default_model, model)
        key = await self._key(session.id, found.key_reference, f"The provider {provider}")
        return Connection(found.wire, found.name, found.base_url, key, found.api_version), chosen

    async def own(self) -> Connection | None:
        """The platform's own; None where none is set up. `ModelRefused` when its key is gone."""
        settings, wire = self._settings, self._settings.flowgrid_ai_wire
        if not wire:
            return None
        name, key = settings.flowgrid_ai_key_secret, None
        if name:
            key = await self._key(PLATFORM_TENANT_ID, reference(name), "The platform's provider")
        return Connection(wire, PLATFORM, settings.flowgrid_ai_base_url or None, key)

    async def _own(self, model: str) -> tuple[Connection, str]:
        connection, models = await self.own(), self._settings.ai_models
        if connection is None:
            raise Invalid.of("provider", "is not set up here; name one of your own providers, or offline", PLATFORM)
        return connection, _chosen(models, models[0], model)

    async def _key(self, tenant_id: str, reference: str, whose: str) -> str:
        try:
            return await self._secrets.space(tenant_id).get(reference)
        except NotFound as error:  # backups hold no keys, so one that was brought back has none
            raise ModelRefused(f"{whose} has no key any more; send it again.") from error


def _chosen(models: Sequence[str], default: str, model: str) -> str:
    if model and model not in models:
        raise Invalid.of("model", f"is none of this provider's; it has {_named(models)}", model)
    return model or default


def _named(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"

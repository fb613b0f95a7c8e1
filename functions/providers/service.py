"""The provider service: every rule about a tenant's AI providers, and nothing about HTTP."""

from collections.abc import Mapping
from typing import Any

from functions.providers.models import MAX_KEY, RESERVED, Provider, ProviderFields
from shared.errors import Contended, FieldError, Invalid, Stale, Taken
from shared.ids import derived_id
from shared.outgoing.addresses import Allowed, wrong_with
from shared.work.change import Change
from shared.work.kept_secrets import KeptSecrets
from shared.work.service import Patch, ResourceService
from shared.work.session import TRIES_AT_A_RACE, TenantSession


class ProviderService(ResourceService[Provider, ProviderFields]):
    """A name is one provider's, for ever: its id follows from it. `allowed`: private addresses that may be called."""

    model = Provider

    def __init__(self, secrets: KeptSecrets, allowed: Allowed) -> None:
        self._secrets = secrets
        self._allowed = allowed

    async def create(self, tenant: TenantSession, new: ProviderFields) -> Provider:
        """`Taken` when there is one of this name."""
        self._check(new, None)
        id = provider_id(new.name)
        if await tenant.store.get(Provider.KIND, id) is not None:
            raise Taken("There is such a provider already.", id=id)
        kept = await self._secrets.put(tenant, Provider.KIND, id, new.key or "")
        for _ in range(TRIES_AT_A_RACE):
            buried = (await tenant.buried(Provider.KIND, [id])).get(id)
            change = tenant.change(*([buried] if buried else []))
            provider = change.create(Provider, _stored(new, kept), id=id, buried=buried)
            await self._secrets.move(tenant, change, provider, None, kept)
            try:
                return await change.commit(provider)
            except Stale:
                continue
        raise Contended("Others keep changing this at the same time; try again.")

    async def replace(self, tenant: TenantSession, id: str, new: ProviderFields, if_match: str | None) -> Provider:
        """All fields anew; a key that is not sent stays. `NotFound`; `Stale` by `if_match` (an ETag)."""
        return await self._change(tenant, id, lambda _: new, if_match)

    async def patch(
        self, tenant: TenantSession, id: str, patch: Patch[ProviderFields], if_match: str | None
    ) -> Provider:
        """RFC 7396. `NotFound`; `Stale` by `if_match` (an ETag)."""
        return await self._change(tenant, id, patch.onto, if_match)

    async def delete(self, tenant: TenantSession, id: str, if_match: str | None) -> None:
        """Its key goes with it. Agents may still name it: what they begin says that there is no such provider."""

        async def last(change: Change, old: Provider) -> None:
            await self._secrets.move(tenant, change, old, old.key_reference, None)

        await tenant.remove(Provider, id, if_match=if_match, also=last)

    async def _change(self, tenant: TenantSession, id: str, sent: Any, if_match: str | None) -> Provider:
        """`sent`: what is sent whole, or what a patch makes of the provider as it is."""
        before = await self.get(tenant, id)
        before.check(if_match)
        first: ProviderFields = sent(before)
        self._check(first, before)
        kept = None if first.key is None else await self._secrets.put(tenant, Provider.KIND, id, first.key)

        def fields(old: Provider) -> Mapping[str, Any]:
            new: ProviderFields = sent(old)
            self._check(new, old)
            return _stored(new, kept or old.key_reference)

        async def also(change: Change, old: Provider, now: Provider) -> None:
            await self._secrets.move(tenant, change, now, old.key_reference, now.key_reference)

        return await tenant.modify(Provider, id, fields, if_match=if_match, also=also)

    def _check(self, new: ProviderFields, old: Provider | None) -> None:
        """`Invalid` with all that is wrong. A key is never repeated, not even a wrong one."""
        wrong = []
        if new.name in RESERVED:
            wrong.append(FieldError("name", "is one that there always is; choose another", new.name))
        if old is not None and new.name != old.name:
            wrong.append(FieldError("name", "is for ever, as agents go by it; make another provider", new.name))
        if new.base_url is not None and (what := wrong_with(new.base_url, self._allowed)):
            wrong.append(FieldError("base_url", what, new.base_url))
        if new.base_url is None and new.wire == "azure_openai":
            wrong.append(FieldError("base_url", "is missing: https://<resource>.openai.azure.com"))
        if new.api_version is not None and new.wire != "azure_openai":
            wrong.append(FieldError("api_version", "belongs to azure_openai only", new.api_version))
        if len({*new.models}) < len(new.models):
            wrong.append(FieldError("models", "names one twice", new.models))
        if new.default_model and new.default_model not in new.models:
            wrong.append(FieldError("default_model", "is none of the models", new.default_model))
        if new.key is None and (old is None or (old.wire, old.base_url) != (new.wire, new.base_url)):
            what = "is missing" if old is None else "has to be sent again with another address or wire"
            wrong.append(FieldError("key", what))
        if new.key is not None and not (new.key.isascii() and new.key.isprintable() and 0 < len(new.key) <= MAX_KEY):
            wrong.append(FieldError("key", f"should be 1 to {MAX_KEY} printable characters of ASCII"))
        if wrong:
            raise Invalid(wrong)


def provider_id(name: str) -> str:
    """The same in every tenant, so that a copy of one finds its providers by name as well."""
    return derived_id(Provider.KIND, name)


def _stored(sent: ProviderFields, key_reference: str) -> dict[str, Any]:
    """All but the key."""
    default = sent.default_model or sent.models[0]
    return {**sent.model_dump(exclude={"key"}), "default_model": default, "key_reference": key_reference}

"""A Flowgrid that takes the tokens of three identity providers, and that they ask at sign-in."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.auth.caller import Caller
from shared.auth.signed import Find
from shared.auth.tokens import TokenVerifier
from shared.ids import PLATFORM_TENANT_ID
from shared.settings import Settings
from tests.doubles.providers import API, B2C, EXTENSION_APP, Auth0, Entra, Provider, published
from tests.unit.world import Answer, FakeVerifier, World

NAMESPACE = "https://flowgrid.example/"
B2C_SECRETS = ("claims-b2c-1", "claims-b2c-2")


class AllTokens(FakeVerifier):
    """Staff and others of the tests by subject; everybody else by the token that they bring."""

    def __init__(self, settings: Settings, known: FakeVerifier, own: Find | None = None) -> None:
        super().__init__()
        self.callers = known.callers
        self.real = TokenVerifier(
            settings.flowgrid_issuers,
            tenant_claim=settings.flowgrid_tenant_claim,
            roles_claim=settings.flowgrid_roles_claim,
            own=own,
        )

    async def verify(self, authorization: str | None) -> Caller:
        if (authorization or "").removeprefix("Bearer ") in self.callers:
            return await super().verify(authorization)
        return await self.real.verify(authorization)

    async def close(self) -> None:
        await self.real.close()


@dataclass(frozen=True)
class Providers:
    entra: Entra
    b2c: B2C
    auth0: Auth0

    def named(self, name: str) -> Provider:
        found: Provider = getattr(self, name)
        return found

    def settings(self, **changes: Any) -> dict[str, Any]:
        """FLOWGRID_ISSUERS and FLOWGRID_CLAIMS, as docs/sign-in.md has them."""
        entra, b2c, auth0 = self.entra, self.b2c, self.auth0
        issuers = [
            {
                "issuer": entra.issuer,
                "audience": API,
                "subject_claim": "oid",
                "email_verified_claim": "xms_edov",
                "roles_claim": "flowgrid_roles",
            },
            {"issuer": b2c.issuer, "audience": API, "email_verified_claim": None, "roles_claim": "extension_Roles"},
            {
                "issuer": auth0.issuer,
                "audience": API,
                "tenant_claim": f"{NAMESPACE}tenant",
                "roles_claim": f"{NAMESPACE}roles",
            },
        ]
        caller = {"issuer": entra.issuer, "audience": EXTENSION_APP}
        entra_asks = {"name": "entra", "provider": "entra", "issuer": entra.issuer, "caller": caller}
        b2c_asks = {"name": "b2c", "provider": "b2c", "issuer": b2c.issuer, "secrets": list(B2C_SECRETS)}
        auth0_asks = {"name": "auth0", "provider": "auth0", "issuer": auth0.issuer, "secrets": ["claims-auth0"]}
        verifying: list[dict[str, Any]] = [entra_asks, b2c_asks]
        asking = [*({**one, "verifies_email": True} for one in verifying), auth0_asks]
        return {"flowgrid_issuers": issuers, "flowgrid_claims": [{**one, **changes} for one in asking]}


@contextmanager
def providers() -> Iterator[Providers]:
    with ExitStack() as stack:
        entra, b2c = stack.enter_context(published(Entra())), stack.enter_context(published(B2C()))
        yield Providers(entra, b2c, stack.enter_context(published(Auth0())))


async def world_of(found: Providers, folder: Path, **changes: Any) -> World:
    """`changes`: of each source of claims."""
    world = World.over(folder, **found.settings(**changes))
    world.core.endpoint.verifier = AllTokens(world.core.settings, world.verifier)
    secrets = world.core.adapters.secrets.space(PLATFORM_TENANT_ID)
    await secrets.put(B2C_SECRETS[0], found.b2c.password)
    await secrets.put("claims-auth0", found.auth0.secret)
    found.auth0.now = lambda: world.clock.now().timestamp()
    for name in ("entra", "b2c", "auth0"):
        found.named(name).ask = asker(world, name)
    return world


def asker(world: World, name: str) -> Any:
    async def ask(headers: Mapping[str, str], body: bytes) -> tuple[int, Any]:
        answer = await world.call("tell_claims", None, body, params={"issuer": name}, headers=headers)
        return answer.status, answer.json

    return ask


async def with_token(world: World, token: str, name: str, body: Any = None, **rest: Any) -> Answer:
    """A call of whoever the token speaks of."""
    return await world.call(name, None, body, headers={"authorization": f"Bearer {token}"}, **rest)

"""The infrastructure that every service stands on, put together once from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.adapters import Adapters, build
from shared.auth.apps import AppTokens
from shared.auth.gateway import Gateways
from shared.auth.tokens import TokenVerifier
from shared.clock import Clock, SystemClock
from shared.http.cors import Cors
from shared.http.endpoint import Endpoint
from shared.http.idempotency import Idempotency
from shared.http.meter import Meter
from shared.http.pagination import Cursors
from shared.ids import Ids, Uuid7Ids
from shared.jobs.deadletters import DeadLetters
from shared.jobs.jobs import GiveUp, Jobs, Slice
from shared.jobs.ledger import Ledger
from shared.kinds import Kinds
from shared.members.apikeys import ApiKeys
from shared.members.invitations import Invitations
from shared.members.issuers import OwnIssuers
from shared.members.keyuse import KeyUses
from shared.members.members import Members
from shared.members.names import Names
from shared.members.signin import SignIn
from shared.members.users import Removals
from shared.settings import Settings
from shared.telemetry import log
from shared.tenancy.directory import Directory
from shared.tenancy.sharedkey import ADDRESSES, FolderKey, RegistryKey
from shared.tenancy.signing import Signatures
from shared.work.outbox import Outbox, sweep_outbox
from shared.work.request_units import RequestUnits
from shared.work.scope import Services


@dataclass(frozen=True)
class Core:
    """What services take from: each field is one thing, used under its own name."""

    settings: Settings
    adapters: Adapters
    services: Services
    signatures: Signatures
    directory: Directory
    members: Members
    names: Names
    removals: Removals
    invitations: Invitations
    own_issuers: OwnIssuers
    api_keys: ApiKeys
    key_uses: KeyUses
    ledger: Ledger
    dead_letters: DeadLetters
    endpoint: Endpoint
    app_tokens: AppTokens
    request_units: RequestUnits

    async def sweep_outbox(self) -> int:
        return await sweep_outbox(self.adapters.database, self.directory, self.adapters.messaging, self.services.clock)

    def jobs(self, handlers: Mapping[str, Slice], give_up: Mapping[str, GiveUp] | None = None) -> Jobs:
        """The runner of long jobs, given what each type of job does, and what it gives back when it fails for good."""
        return Jobs(
            handlers,
            give_up or {},
            queue=self.settings.jobs_queue,
            directory=self.directory,
            database=self.adapters.database,
            messaging=self.adapters.messaging,
            services=self.services,
        )

    async def close(self) -> None:
        """Finish what runs behind the answers, then give back files and sockets."""
        await self.key_uses.flush()
        await self.services.outbox.flush()
        self.adapters.charges.flush()
        await self.request_units.flush()
        await self.endpoint.verifier.close()
        await self.endpoint.gateways.close()
        await self.app_tokens.close()
        await self.own_issuers.close()
        await self.signatures.close()
        await self.adapters.close()


def core(settings: Settings, kinds: Kinds, clock: Clock | None = None, ids: Ids | None = None) -> Core:
    """Nothing is opened: adapters connect on first use, in the worker's loop."""
    log.configure(settings.flowgrid_log_level)
    clock = clock or SystemClock()
    adapters = build(settings, clock, kinds)
    outbox, telemetry = Outbox(adapters.messaging), adapters.telemetry
    services = Services(
        clock, ids or Uuid7Ids(), outbox, settings.usage_queue, kinds, settings.deliveries_queue, telemetry
    )
    request_units = RequestUnits(adapters.messaging, clock, services.ids, settings.usage_queue)
    adapters.charges.listener = request_units.add
    signatures = Signatures(adapters.secrets, adapters.database, clock)
    directory = Directory(adapters.database, clock, signatures)
    names = Names(adapters.database, directory, clock)
    removals = Removals(RegistryKey(adapters.database, clock, ADDRESSES))
    key_uses = KeyUses(clock)
    members = Members(clock, SignIn(names, removals), key_uses)
    own_issuers = OwnIssuers(names, directory, adapters.outgoing, clock)
    issuers = {one.issuer for one in settings.flowgrid_issuers}
    api_keys = ApiKeys(directory, clock, settings.flowgrid_environment, issuers)
    endpoint = Endpoint(
        verifier=TokenVerifier(
            settings.flowgrid_issuers,
            tenant_claim=settings.flowgrid_tenant_claim,
            roles_claim=settings.flowgrid_roles_claim,
            own=own_issuers.trusted,
            api_keys=api_keys.caller,
        ),
        directory=directory,
        members=members,
        limiter=adapters.limiter,
        cursors=_cursors(settings, adapters, clock),
        idempotency=Idempotency(clock, adapters.database.platform),
        meter=Meter(services, adapters.messaging),
        services=services,
        global_limit=settings.flowgrid_global_limit,
        trusted_proxies=settings.flowgrid_trusted_proxies,
        cors=Cors(settings.cors_origins),
        gateways=Gateways(settings.flowgrid_gateway),
    )
    return Core(
        settings=settings,
        adapters=adapters,
        services=services,
        signatures=signatures,
        directory=directory,
        members=members,
        names=names,
        removals=removals,
        invitations=Invitations(adapters.database, directory, clock),
        own_issuers=own_issuers,
        api_keys=api_keys,
        key_uses=key_uses,
        ledger=Ledger(adapters.database, clock),
        dead_letters=DeadLetters(adapters.database, adapters.messaging, clock),
        endpoint=endpoint,
        app_tokens=AppTokens([one.caller for one in settings.flowgrid_claims if one.caller is not None]),
        request_units=request_units,
    )


def _cursors(settings: Settings, adapters: Adapters, clock: Clock) -> Cursors:
    """Signed with the given key, or with one that all instances share: by the data folder, or by the registry."""
    if settings.flowgrid_cursor_key or settings.flowgrid_database == "sqlite":
        return Cursors(FolderKey(settings.flowgrid_cursor_key, settings.flowgrid_data_dir / "cursor.key"))
    key = RegistryKey(adapters.database, clock)
    return Cursors(key, key.load)

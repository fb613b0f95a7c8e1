"""All of the webhooks' parts, put together once."""

from dataclasses import dataclass

from functions.webhooks.answering import Answering, Decide
from functions.webhooks.deliveries import Deliveries
from functions.webhooks.lines import Lines
from functions.webhooks.sending import Sender
from functions.webhooks.service import WebhookService
from functions.webhooks.working import Deliverer, Sweeping
from shared.core import Core
from shared.work.kept_secrets import KeptSecrets


@dataclass(frozen=True)
class Webhooks:
    """`service` and `deliveries` for who calls; the others are what triggers call."""

    service: WebhookService
    deliveries: Deliveries
    deliverer: Deliverer
    sweeping: Sweeping
    answering: Answering

    @classmethod
    def of(cls, core: Core, decide: Decide) -> "Webhooks":
        adapters, services, directory = core.adapters, core.services, core.directory
        secrets, messaging = KeptSecrets(adapters.secrets), adapters.messaging
        lines = Lines(Sender(adapters.outgoing, secrets, services.clock, core.settings.flowgrid_public_url), messaging)
        return cls(
            service=WebhookService(secrets, adapters.outgoing.allowed, adapters.database, directory),
            deliveries=Deliveries(),
            deliverer=Deliverer(lines, directory, services, core.dead_letters, messaging),
            sweeping=Sweeping(adapters.database, services, messaging),
            answering=Answering(decide, secrets, directory, services, core.api_keys),
        )

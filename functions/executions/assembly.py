"""All of the runs' parts, put together once."""

from dataclasses import dataclass

from functions.executions.cancelling import Cancelling
from functions.executions.deciding import Deciding
from functions.executions.messages import RunMessages
from functions.executions.runner import Runner
from functions.executions.service import ExecutionService
from functions.executions.starting import Starting
from functions.executions.sweeping import Sweeping
from functions.executions.working import World
from functions.tools.port import Toolbox, Toolboxes
from shared.blobs.port import Blobs
from shared.database.port import Database
from shared.jobs.deadletters import DeadLetters
from shared.messaging.port import Messaging
from shared.tenancy.directory import Directory
from shared.work.scope import Services


@dataclass(frozen=True)
class Executions:
    """`starting` for who starts runs of his own; the others are what the triggers call."""

    starting: Starting
    service: ExecutionService
    runner: Runner
    messages: RunMessages
    sweeping: Sweeping

    @classmethod
    def of(
        cls,
        world: World,
        toolbox: Toolbox,
        own: Toolbox,
        *,
        blobs: Blobs,
        database: Database,
        messaging: Messaging,
        directory: Directory,
        services: Services,
        dead_letters: DeadLetters,
    ) -> "Executions":
        """`toolbox`: what agents may name; `own`: what else Flowgrid's own runs use."""
        queue, pause = world.queue, world.pause
        runner = Runner(world, Toolboxes(toolbox, own), blobs, directory, services)
        starting, cancelling = Starting(toolbox, queue, pause), Cancelling(runner, queue, pause)
        deciding = Deciding(runner, queue, pause)
        return cls(
            starting=starting,
            service=ExecutionService(starting, cancelling, deciding, blobs, database, directory, queue, pause),
            runner=runner,
            messages=RunMessages(runner, cancelling, directory, services, dead_letters, queue),
            sweeping=Sweeping(runner, database, directory, messaging, services, queue, pause),
        )

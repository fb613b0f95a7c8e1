"""All of the runs' parts, put together once."""

from dataclasses import dataclass, replace

from functions.executions.cancelling import Cancelling
from functions.executions.deciding import Deciding
from functions.executions.messages import RunMessages
from functions.executions.retention import Retention
from functions.executions.runner import Runner
from functions.executions.scheduling import Scheduling
from functions.executions.service import ExecutionService
from functions.executions.starting import Starting
from functions.executions.sweeping import Sweeping
from functions.executions.working import World
from shared.core import Core
from shared.jobs.tenant_sweep import TenantSweep


@dataclass(frozen=True)
class Executions:
    """`starting` for who starts runs of his own; the others are what the triggers call."""

    starting: Starting
    service: ExecutionService
    runner: Runner
    messages: RunMessages
    sweeping: Sweeping
    scheduling: Scheduling
    retention: Retention

    @classmethod
    def of(cls, core: Core, world: World) -> "Executions":
        queue, pause, blobs = core.settings.executions_queue, world.pause, core.adapters.blobs
        database, directory, services = core.adapters.database, core.directory, core.services
        runner = Runner(replace(world, queue=queue), blobs, directory, services)
        starting, cancelling = Starting(world.toolbox, queue, pause), Cancelling(runner, queue, pause)
        deciding = Deciding(runner, queue, pause)
        return cls(
            starting=starting,
            service=ExecutionService(starting, cancelling, deciding, blobs, database, directory, queue, pause),
            runner=runner,
            messages=RunMessages(
                runner, cancelling, directory, services, core.dead_letters, core.adapters.messaging, queue
            ),
            sweeping=Sweeping(runner, database, directory, core.adapters.messaging, services, queue, pause),
            scheduling=Scheduling(starting, TenantSweep(database, directory, services), database),
            retention=Retention(blobs),
        )

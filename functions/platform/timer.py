"""The platform's timers: the sweep that repairs what crashes leave, the rounds, and the drain of the embedded queue."""

import logging
from collections.abc import Awaitable, Callable, Mapping

import azure.functions as func

from functions.platform.consumers import Consumers
from functions.platform.rounds import Rounds
from shared.apart import apart
from shared.messaging.receiving import Receiving
from shared.telemetry.port import Telemetry, invocation

logger = logging.getLogger("flowgrid.sweep")
Sweep = Callable[[], Awaitable[int]]


def blueprint(sweeps: Mapping[str, Sweep], telemetry: Telemetry) -> func.Blueprint:
    timers = func.Blueprint()

    @timers.function_name("sweep")
    @timers.timer_trigger(arg_name="timer", schedule="%SWEEP_SCHEDULE%")
    async def sweep(timer: func.TimerRequest) -> None:
        with invocation(telemetry, "sweep"):
            for name, work in sweeps.items():
                with apart(logger, "sweep failed, it comes again", sweep=name):
                    if found := await work():
                        logger.info("swept", extra={"sweep": name, "found": found})

    return timers


def rounds_blueprint(rounds: Rounds, telemetry: Telemetry) -> func.Blueprint:
    """The timer that asks what is left of this hour and of this day."""
    timers = func.Blueprint()

    @timers.function_name("rounds")
    @timers.timer_trigger(arg_name="timer", schedule="%ROUNDS_SCHEDULE%")
    async def go_round(timer: func.TimerRequest) -> None:
        with invocation(telemetry, "rounds"):
            await rounds.run()

    return timers


def drain_blueprint(consumers: Consumers, messaging: Receiving) -> func.Blueprint:
    """For a host without Service Bus (`func start` alone): a timer takes what the triggers would.

    It tells nothing of itself each second; what it hands over does.
    """
    timers = func.Blueprint()

    @timers.function_name("drain_queues")
    @timers.timer_trigger(arg_name="timer", schedule="*/1 * * * * *")
    async def drain_queues(timer: func.TimerRequest) -> None:
        await consumers.drain(messaging)

    return timers

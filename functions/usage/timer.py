"""The usage timer: what is over is closed, and what all tenants did is summed up."""

import logging

import azure.functions as func

from functions.usage.closing import Closing
from functions.usage.fleet import FleetHours
from shared.telemetry.port import Telemetry, invocation

logger = logging.getLogger("flowgrid.usage")


def blueprint(closing: Closing, fleet: FleetHours, telemetry: Telemetry) -> func.Blueprint:
    timers = func.Blueprint()

    @timers.function_name("close_usage")
    @timers.timer_trigger(arg_name="timer", schedule="%USAGE_SCHEDULE%")
    async def close_usage(timer: func.TimerRequest) -> None:
        with invocation(telemetry, "close_usage"):
            if closed := await closing.sweep():
                logger.info("usage closed", extra={"periods": closed})
            await fleet.sweep()

    return timers

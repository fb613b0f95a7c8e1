"""The backup timers: the daily backup, and retention."""

import azure.functions as func

from functions.backups.daily import Daily
from shared.telemetry.port import Telemetry, invocation


def blueprint(daily: Daily, telemetry: Telemetry) -> func.Blueprint:
    timers = func.Blueprint()

    @timers.function_name("backup_daily")
    @timers.timer_trigger(arg_name="timer", schedule="%BACKUP_SCHEDULE%")
    async def backup_daily(timer: func.TimerRequest) -> None:
        with invocation(telemetry, "backup_daily"):
            await daily.back_up()

    @timers.function_name("backup_retention")
    @timers.timer_trigger(arg_name="timer", schedule="%RETENTION_SCHEDULE%")
    async def backup_retention(timer: func.TimerRequest) -> None:
        with invocation(telemetry, "backup_retention"):
            await daily.prune()

    return timers

"""The backup timers: the daily backup, and retention."""

import azure.functions as func

from functions.backups.daily import Daily


def blueprint(daily: Daily) -> func.Blueprint:
    timers = func.Blueprint()

    @timers.function_name("backup_daily")
    @timers.timer_trigger(arg_name="timer", schedule="%BACKUP_SCHEDULE%")
    async def backup_daily(timer: func.TimerRequest) -> None:
        await daily.back_up()

    @timers.function_name("backup_retention")
    @timers.timer_trigger(arg_name="timer", schedule="%RETENTION_SCHEDULE%")
    async def backup_retention(timer: func.TimerRequest) -> None:
        await daily.prune()

    return timers

"""The backup timers: the daily backup, and retention."""

import azure.functions as func

from functions.backups.fleet import DailyBackups
from functions.backups.retention import Retention
from shared.clock import Clock
from shared.ledger import Ledger


def blueprint(daily: DailyBackups, retention: Retention, ledger: Ledger, clock: Clock) -> func.Blueprint:
    timers = func.Blueprint()

    def today() -> str:
        return clock.now().date().isoformat()

    @timers.function_name("backup_daily")
    @timers.timer_trigger(arg_name="timer", schedule="%BACKUP_SCHEDULE%")
    async def backup_daily(timer: func.TimerRequest) -> None:
        day = today()
        await ledger.run_once("backup-daily", day, lambda: daily.queue(day))

    @timers.function_name("backup_retention")
    @timers.timer_trigger(arg_name="timer", schedule="%RETENTION_SCHEDULE%")
    async def backup_retention(timer: func.TimerRequest) -> None:
        await ledger.run_once("backup-retention", today(), retention.run)

    return timers

"""Timer triggers: NCRONTAB schedules in UTC, one run at a time, a run missed while the host was down is made up once.

Follows the WebJobs extension (`TimerListener.cs`, `CheckPastDueAsync` in `ScheduleMonitor.cs`): the next run is counted
from the beginning of the last, so one that outlives its slot is followed by another at once, which is not `past_due`,
and other slots that it has passed are skipped. A schedule monitor on disk tells at the start what was missed meanwhile;
without one (`use_monitor=False`, or more than one run a minute), or after the schedule has changed, nothing is made up.
In Azure a lock in the host's storage account lets one instance run a timer; here every host runs its own.
"""

import asyncio
import json
import logging
import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from azure.functions.timer import TimerRequest
from croniter import croniter

from local.bindings import Function, HostError
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.folders import private_folder

logger = logging.getLogger("flowgrid.local.timers")
ONE_MINUTE = timedelta(minutes=1)
LONGEST_WAIT = timedelta(seconds=1)  # so that a clock that was set, or a laptop that slept, is noticed


class Monitor:
    """When each timer last ran (or was first seen) and would run next, a JSON file per timer, replaced atomically."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, name: str) -> tuple[datetime, datetime] | None:
        path = self._path(name)
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            return parse_rfc3339(saved["last"]), parse_rfc3339(saved["next"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s is damaged; the timer starts anew", path)
            return None

    def save(self, name: str, last: datetime, next: datetime) -> None:
        private_folder(self._folder)
        temporary = self._path(name).with_suffix(f".{os.getpid()}.tmp")  # several hosts may share the folder
        with temporary.open("w", encoding="utf-8") as file:
            json.dump({"last": rfc3339(last), "next": rfc3339(next)}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


class Timer:
    """One timer function; `run_if_due` is the step that `loop` repeats."""

    def __init__(self, function: Function, monitor: Monitor, clock: Clock) -> None:
        self.function = function
        self._schedule = _checked(function)
        self._monitor = monitor
        self._clock = clock
        self._next: tuple[datetime, datetime] | None = None  # what was asked for last: it is asked for every second
        self._monitored = function.trigger.get("useMonitor") is not False and not self._often()
        self._run_on_startup = function.trigger.get("runOnStartup") is True
        self._running = asyncio.Lock()
        self._started: datetime | None = None
        self._last: datetime | None = None

    def next_run(self, after: datetime) -> datetime:
        """The first instant of the schedule later than `after`; day of month and day of week must both match."""
        if self._next is not None and self._next[0] == after:
            return self._next[1]
        moments = croniter(self._schedule, after, second_at_beginning=len(self._schedule.split()) == 6, day_or=False)
        moment: datetime = moments.get_next(datetime)
        self._next = after, moment
        return moment

    async def start(self) -> None:
        """Read the monitor; a timer seen for the first time counts from now."""
        self._started = self._last = self._clock.now()
        if self._monitored:
            saved = await asyncio.to_thread(self._monitor.load, self.function.name)
            if saved is not None and saved[1] == self.next_run(saved[0]):
                self._last = saved[0]
            else:  # new, or of another schedule
                await self._note(self._started)

    async def run_if_due(self) -> bool:
        """Run when the schedule (or the start) says so; an exception is logged, the schedule goes on."""
        if self._started is None or self._last is None:
            raise RuntimeError("a timer is started before it runs")
        self._last = min(self._last, self._clock.now())  # the clock may have been set back: no waiting for its return
        due = self.next_run(self._last)
        at_startup, self._run_on_startup = self._run_on_startup, False
        if self._clock.now() < due and not at_startup:
            return False
        begun = self._clock.now()
        with suppress(Exception):  # logged where it happened
            await self.run(past_due=due <= self._started)
        self._last = begun
        if self._monitored:
            await self._note(begun)
        return True

    async def run(self, *, past_due: bool = False) -> None:
        """Run now, after the run that may be under way; raises what the function raises."""
        async with self._running:
            try:
                await self.function.call(self._request(past_due))
            except Exception:
                logger.exception("timer %s failed", self.function.name)
                raise

    async def loop(self, stop: asyncio.Event) -> None:
        """Run on schedule until `stop` (after `start`)."""
        while not stop.is_set():
            try:
                await self.run_if_due()
            except Exception:
                logger.exception("the last run of timer %s could not be noted", self.function.name)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._wait().total_seconds())

    async def _note(self, last: datetime) -> None:
        await asyncio.to_thread(self._monitor.save, self.function.name, last, self.next_run(last))

    def _often(self) -> bool:
        first = self.next_run(self._clock.now())
        return self.next_run(first) - first < ONE_MINUTE

    def _wait(self) -> timedelta:
        now = self._clock.now()
        return min(max(self.next_run(self._last or now) - now, timedelta(milliseconds=1)), LONGEST_WAIT)

    def _request(self, past_due: bool) -> TimerRequest:
        now = self._clock.now()
        last = rfc3339(self._last or now)
        status = {"Last": last, "Next": rfc3339(self.next_run(now)), "LastUpdated": last}
        return TimerRequest(past_due=past_due, schedule_status=status, schedule={"AdjustForDST": True})


def _checked(function: Function) -> str:
    schedule = str(function.trigger["schedule"]).strip()
    fields = len(schedule.split())
    if fields not in (5, 6) or not croniter.is_valid(schedule, second_at_beginning=fields == 6):
        raise HostError(
            f"Function {function.name}: {schedule!r} is not an NCRONTAB schedule; "
            "six fields are needed, such as '0 0 2 * * *' for every day at 02:00 UTC."
        )
    return schedule

"""What the Functions host says to Microsoft's Python worker, said in-process; runs on Python 3.13 as a script.

    python functions_host.py <folder of function_app.py>      prints one JSON report on the last line

`azure_functions_runtime` is the worker's own library since 3.13: it indexes the app and decodes, calls and encodes.
Its messages are protobuf in Azure; here they are objects of the same shape.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Coroutine, Sequence
from contextvars import Context
from datetime import UTC, datetime, timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

if __name__ == "__main__":
    sys.path[:0] = [sys.argv[1]]

# isort: split
from local.messages import body_of, many, metadata_of, single
from shared.messaging.port import Message
from shared.work.resources import PageRequest


class Proto(SimpleNamespace):
    """A protobuf message: any fields, and `WhichOneof` names the first that is set."""

    def WhichOneof(self, group: str) -> str | None:
        return next((name for name, value in vars(self).items() if value is not None), None)


class StatusResult(Proto):
    Failure = 0
    Success = 1


class BindingInfo(Proto):
    out = 1
    inout = 2


class Protos:
    """The message types that the worker makes."""

    StatusResult = StatusResult
    BindingInfo = BindingInfo

    def __getattr__(self, name: str) -> type[Proto]:
        return Proto


class WorkerTask(asyncio.Task[Any]):
    """As the worker's `ContextEnabledTask` (dispatcher.py): of the invocation that the task which makes it is of."""

    def __init__(
        self, work: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, context: Context | None
    ) -> None:
        super().__init__(work, loop=loop, context=context)
        self.invocation: str | None = getattr(asyncio.current_task(loop), "invocation", None)


class AsyncLoggingHandler(logging.Handler):
    """As the worker's own, of this name, on the root logger: each line goes to the host with level and invocation."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        invocation = getattr(asyncio.current_task(), "invocation", None)
        self.lines.append({"level": record.levelname, "invocation": invocation, "text": self.format(record)})


class Host:
    def __init__(self, folder: str) -> None:
        self.log = AsyncLoggingHandler()
        self.invocations: dict[str, str] = {}
        self._worker = import_module("azure_functions_runtime")
        self._folder = folder
        self.functions: dict[str, Any] = {}

    async def start(self) -> None:
        """Load the app as the host does: initialise the worker, ask what functions there are, load each."""
        asyncio.get_running_loop().set_task_factory(lambda loop, work, context=None: WorkerTask(work, loop, context))
        logging.getLogger().setLevel(logging.INFO)
        logging.getLogger().addHandler(self.log)
        init = Proto(worker_init_request=Proto(capabilities={}, function_app_directory=self._folder))
        properties = {"host": "127.0.0.1", "protos": Protos()}
        answer = await self._worker.worker_init_request(Proto(request=init, properties=properties))
        _check(answer.result)
        answer = await self._worker.functions_metadata_request(None)
        _check(answer.result)
        self.functions = {one.name: one for one in answer.function_metadata_results}
        for one in self.functions.values():
            load = Proto(request=Proto(function_load_request=Proto(function_id=one.function_id)))
            _check((await self._worker.function_load_request(load)).result)

    def trigger(self, name: str) -> dict[str, Any]:
        bindings: list[dict[str, Any]] = [json.loads(one) for one in self.functions[name].raw_bindings]
        return next(one for one in bindings if one["type"].lower().endswith("trigger"))

    async def invoke(self, name: str, data: Proto, metadata: dict[str, Any] | None = None) -> Any:
        """The returned TypedData; raises what the function raised."""
        id = str(uuid4())
        self.invocations[id] = name
        request = Proto(
            invocation_id=id,
            function_id=self.functions[name].function_id,
            input_data=[Parameter(self.trigger(name)["name"], data)],
            trigger_metadata={key: Proto(json=json.dumps(value)) for key, value in (metadata or {}).items()},
            trace_context=Proto(trace_parent="", trace_state="", attributes={}),
            retry_context=Proto(retry_count=0, max_retry_count=0, exception=None),
        )
        invoked = self._worker.invocation_request(Proto(request=Proto(invocation_request=request)))
        task = WorkerTask(invoked, asyncio.get_running_loop(), None)
        task.invocation = id
        answer = await task
        _check(answer.result)
        return answer.return_value

    async def deliver(self, name: str, messages: Sequence[Message]) -> None:
        """Hand messages over in the form that the trigger's binding asks for; one message to a trigger of one."""
        trigger = self.trigger(name)
        data_type, each = trigger.get("dataType"), [metadata_of(message, 1) for message in messages]
        bodies = [body_of(message) for message in messages]
        if str(trigger.get("cardinality", "one")).lower() == "many":
            kind, value = many(bodies, data_type)
            data = Proto(**{kind: value if kind == "json" else Proto(bytes=value)})
            await self.invoke(name, data, {f"{key}Array": [one[key] for one in each] for key in each[0]})
        else:
            kind, value = single(bodies[0], data_type)
            await self.invoke(name, Proto(**{kind: value}), each[0])

    async def call(self, name: str, method: str, *, token: str = "", body: bytes = b"") -> tuple[int, bytes]:
        route = self.trigger(name)["route"]
        names = [part[1:-1] for part in route.split("/") if part.startswith("{")]
        headers = {"content-type": "application/json", "x-forwarded-for": "198.51.100.7:4711"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        url = f"https://flowgrid.test/api/{route}"
        http = Proto(
            method=method,
            url=url,
            headers=headers,
            params=dict.fromkeys(names, str(uuid4())),
            query={},
            body=Proto(bytes=body),
        )
        returned = await self.invoke(name, Proto(http=http))
        answer = returned.http
        content = answer.body.bytes if hasattr(answer.body, "bytes") else answer.body.string.encode()
        return int(answer.status_code), content


class Parameter:
    def __init__(self, name: str, data: Proto) -> None:
        self.name = name
        self.data = data

    def WhichOneof(self, group: str) -> str:
        return "data"


def _check(result: StatusResult) -> None:
    if result.status != StatusResult.Success:
        raise RuntimeError(f"{result.exception.message}\n{result.exception.stack_trace}")


TIMER = {
    "Schedule": {"AdjustForDST": True},
    "ScheduleStatus": {"Last": "2026-11-24T12:00:00+00:00", "Next": "2026-11-24T12:00:30+00:00", "LastUpdated": ""},
    "IsPastDue": False,
}


async def report(folder: str) -> dict[str, Any]:
    host = Host(folder)
    await host.start()
    import function_app
    from functions.tenants.models import NewTenant
    from tests.doubles.functions_data import backup_job, onboarded, usage_event_of, what_became_of

    core = function_app.own_core
    seen: dict[str, Any] = {"python": sys.version, "functions": {}}
    session = await onboarded(core, NewTenant(name="Acme", slug="acme", admin_email="ada@acme.example"))
    event = usage_event_of(session, datetime.now(UTC) - timedelta(minutes=1))
    job = await backup_job(core, session)
    if "store_usage" not in host.functions:  # the drain timer takes it
        await core.adapters.messaging.send(core.settings.usage_queue, [event])
    bad = Message(str(uuid4()), session.id, {"unreadable": "<xml/>"})
    # others must cope with a message that says nothing
    real = {"store_usage": [[event, bad]], "run_job": [[job], [bad]]}
    for name in host.functions:
        trigger = host.trigger(name)
        found: dict[str, Any] = {"bindings": [json.loads(one) for one in host.functions[name].raw_bindings]}
        seen["functions"][name] = found
        match trigger["type"]:
            case "httpTrigger":
                found["status"] = {method: (await host.call(name, method))[0] for method in trigger["methods"]}
            case "timerTrigger":
                await host.invoke(name, Proto(json=json.dumps(TIMER)))
            case "serviceBusTrigger":
                for messages in real.get(name, [[Message(str(uuid4()), session.id, {})]]):
                    await host.deliver(name, messages)
    seen["open"] = [route.name for route in core.endpoint.routes if route.role is None]
    seen["became"] = await what_became_of(session, event, job)
    seen["lines"] = [{**one, "function": host.invocations.get(one["invocation"])} for one in host.log.lines]
    seen["dead"] = sorted((one.queue, one.reason) for one in (await core.dead_letters.list(PageRequest(9))).items)
    await core.close()
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(report(sys.argv[1]))))

"""What a `FunctionApp` declares, read into plain values: names, triggers with `%SETTING%` expanded, callables.

Source: `FunctionApp.get_functions()` of azure-functions; `%NAME%` is the real host's app-setting expression.
"""

import asyncio
import inspect
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any, cast
from uuid import uuid4

import azure.functions as func

_EXPRESSION = re.compile(r"%([^%\s]+)%")


class HostError(Exception):
    """The app cannot be hosted; the message names the function and what to change."""


@dataclass(frozen=True)
class Function:
    """One function: its trigger's attributes as the SDK spells them, and how to call it."""

    name: str
    trigger: Mapping[str, Any]
    handler: Callable[..., Any]
    wants_context: bool

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.handler)

    async def call(self, value: Any, *, headers: Mapping[str, str] | None = None) -> Any:
        """Run the handler with the trigger's value; a synchronous one runs in a thread, as in the worker."""
        arguments = {str(self.trigger["name"]): value}
        if self.wants_context:
            arguments["context"] = InvocationContext(self.name, headers or {})
        if self.is_async:
            return await self.handler(**arguments)
        result = await asyncio.to_thread(self.handler, **arguments)
        return await result if inspect.isawaitable(result) else result


def functions_of(app: func.FunctionApp, values: Mapping[str, str]) -> list[Function]:
    """Every function with its trigger; HostError for a missing setting or a name used twice."""
    app.functions_bindings = None  # the SDK remembers names: a second look at one app would find every name taken
    try:
        declared = app.get_functions()
    except ValueError as error:
        raise HostError(f"The app cannot be indexed: {error}") from error
    return [_function(item, {name.upper(): value for name, value in values.items()}) for item in declared]


def _function(item: Any, values: Mapping[str, str]) -> Function:
    name = str(item.get_function_name())
    trigger = item.get_trigger()
    if trigger is None:
        raise HostError(f"Function {name} has no trigger.")
    handler = cast(Callable[..., Any], item.get_user_function())
    return Function(
        name=name,
        trigger={key: _plain(name, value, values) for key, value in trigger.get_dict_repr().items()},
        handler=handler,
        wants_context="context" in inspect.signature(handler).parameters,
    )


def _plain(function: str, value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, Enum):
        return value.name if isinstance(value.value, int) else value.value
    if isinstance(value, str):
        return expand(function, value, values)
    if isinstance(value, list | tuple | set):
        return [_plain(function, item, values) for item in value]
    return value


def expand(function: str, text: str, values: Mapping[str, str]) -> str:
    """`%NAME%` -> the setting's value (names in capitals); HostError where it is missing, as the real host fails."""

    def replace(match: re.Match[str]) -> str:
        value = values.get(match[1].upper())
        if not value:
            raise HostError(f"Function {function}: the setting {match[1]} has no value, but {text!r} needs one.")
        return value

    return _EXPRESSION.sub(replace, text)


class InvocationContext(func.Context):
    """What a handler gets when it takes `context`: azure.functions.Context with a fresh invocation id."""

    def __init__(self, function_name: str, headers: Mapping[str, str]) -> None:
        self._function_name = function_name
        self._invocation_id = str(uuid4())
        self._trace = _Trace(headers)
        self._local = threading.local()

    @property
    def invocation_id(self) -> str:
        return self._invocation_id

    @property
    def thread_local_storage(self) -> Any:
        return self._local

    @property
    def function_name(self) -> str:
        return self._function_name

    @property
    def function_directory(self) -> str:
        return "."

    @property
    def trace_context(self) -> Any:
        return self._trace

    @property
    def retry_context(self) -> Any:
        """None: no trigger here has a retry policy."""
        return None


class _Trace:
    """azure.functions' TraceContext (not exported there): the caller's W3C trace headers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    @property
    def trace_state(self) -> str:
        return self._headers.get("tracestate", "")

    @property
    def trace_parent(self) -> str:
        return self._headers.get("traceparent", "")

    @property
    def attributes(self) -> dict[str, str]:
        return {}

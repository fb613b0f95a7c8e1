"""Telemetry to Application Insights, through opencensus-ext-azure: its connection strings, its context, its transport.

The package is retired (docs/decisions/0045): nothing else of it is used, and it is imported here alone, in the thread
that sends. Items are in the form of its protocol.py. Nothing of it is global: no patched library, no log handler, no
storage on a disk, no statistics about itself to its makers.
"""

import asyncio
import logging
import os
import platform
import traceback
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from time import time
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from shared.telemetry.delivery import CAPACITY, GATHER_SECONDS, Delivery, Sent
from shared.telemetry.log import log_fields, said, struck
from shared.telemetry.port import Telemetry
from shared.tracing import Call, Span, current
from shared.version import VERSION

ROLE = "flowgrid"
CALL_SECONDS = 5.0  # to connect, and between two pieces of an answer
CLOSE_SECONDS = 3.0
CAUSES = 4
FRAMES = 20
LONGEST = 1000  # of a text
LONGEST_PLACE = 150
LOGGED = "Logged Error"  # the event that a line at the level error is, where there is no exception
TOLD = ("operation", "request_id", "queue", "check")  # of such a line, beside its words
STAMPS = (  # one may send its clients to another; nobody else may have them sent anywhere
    ".applicationinsights.azure.com",
    ".applicationinsights.azure.us",
    ".applicationinsights.azure.cn",
    ".services.visualstudio.com",
)
TYPES = {"RemoteDependency": "RemoteDependencyData", "Request": "RequestData", "Exception": "ExceptionData"}
TYPES |= {"Event": "EventData", "Metric": "MetricData"}


class Transport(Protocol):
    """What sends envelopes, once; in whose name, and with what on each of them."""

    key: str
    tags: Mapping[str, str]

    def send(self, envelopes: list[dict[str, Any]]) -> Sent: ...


class _Item(NamedTuple):
    """What was told, until the thread makes an envelope of it; `at` in epoch seconds, `sample_rate` in percent."""

    type: str
    at: float
    trace_id: str
    parent: str
    tenant_id: str
    data: dict[str, Any]
    sample_rate: float = 100.0


class Insights(Telemetry):
    """`sample`: the share of traces of which successes are sent; they say so (`sampleRate`), and counts stay right.

    Exceptions, failures, logged errors and metrics are always sent. `client_id`: of the app's own identity, by which it
    sends where a key is not enough ("" its only one); None: the key is enough.
    """

    on = True

    def __init__(
        self,
        connection_string: str,
        *,
        environment: str,
        sample: float = 1.0,
        client_id: str | None = None,
        capacity: int = CAPACITY,
        gather_seconds: float = GATHER_SECONDS,
        call_seconds: float = CALL_SECONDS,
    ) -> None:
        self._connection_string = connection_string
        self._common = {"environment": environment, "version": VERSION}
        self._sample = sample
        self._rate = sample * 100.0
        self._lot = connection_string.encode()
        self._client_id = client_id
        self._call_seconds = call_seconds
        self._transport: Transport | None = None
        self.delivery = Delivery(self._send, capacity=capacity, gather_seconds=gather_seconds)
        self._errors = _Errors(self)
        logging.getLogger("flowgrid").addHandler(self._errors)

    def request(
        self, span: Span, name: str, *, started: float, seconds: float, result: str, ok: bool, tenant_id: str
    ) -> None:
        if ok and not self._sampled(span.trace_id):
            return
        data = {"name": name, "id": span.id, "duration": _duration(seconds), "responseCode": result, "success": ok}
        rate = self._rate if ok else 100.0
        self.delivery.put(_Item("Request", started, span.trace_id, span.parent, tenant_id, data, rate))

    def dependency(self, call: Call) -> None:
        span = call.span
        if call.ok and not self._sampled(span.trace_id):
            return
        data = {
            "name": call.name,
            "id": span.id,
            "type": call.kind,
            "target": call.target,
            "resultCode": call.result,
            "duration": _duration(call.seconds),
            "success": call.ok,
            "measurements": call.measured,
        }
        tenant_id = call.tenant_id or log_fields.get({}).get("tenant_id", "")
        rate = self._rate if call.ok else 100.0
        self.delivery.put(_Item("RemoteDependency", call.started, span.trace_id, span.parent, tenant_id, data, rate))

    def exception(self, error: BaseException) -> None:
        fields = log_fields.get({})
        properties = {name: fields[name] for name in ("operation", "request_id") if name in fields}
        data = {"exceptions": _told(error), "severityLevel": 3, "properties": properties}
        self.delivery.put(_Item("Exception", time(), *_here(), fields.get("tenant_id", ""), data))

    def event(self, name: str, tenant_id: str, properties: Mapping[str, str]) -> None:
        trace_id, parent = _here()
        if self._sampled(trace_id):
            data = {"name": name, "properties": properties}
            self.delivery.put(_Item("Event", time(), trace_id, parent, tenant_id, data, self._rate))

    def logged(self, record: logging.LogRecord) -> None:
        """An error that was logged without an exception: its words, which are the code's own, and where it belongs."""
        known = {**log_fields.get({}), **vars(record)}
        told = {name: struck(str(known[name]))[:LONGEST] for name in ("tenant_id", *TOLD) if name in known}
        tenant_id = told.pop("tenant_id", "")
        data = {"name": LOGGED, "properties": {"message": str(record.msg), **told}}
        self.delivery.put(_Item("Event", time(), *_here(), tenant_id, data))

    def metric(self, name: str, tenant_id: str, value: float, properties: Mapping[str, str], count: int = 1) -> None:
        data = {"metrics": [{"name": name, "value": value, "count": count}], "properties": properties}
        self.delivery.put(_Item("Metric", time(), *_here(), tenant_id, data))

    async def close(self) -> None:
        logging.getLogger("flowgrid").removeHandler(self._errors)
        await asyncio.to_thread(self.delivery.close, CLOSE_SECONDS)

    def _sampled(self, trace_id: str) -> bool:
        """The same for all of a trace, on every instance; what belongs to none is always sent.

        By lot, which whoever names a trace cannot know: else he would be counted many times, or never.
        """
        if self._sample >= 1.0 or not trace_id:
            return True
        drawn = blake2b(trace_id.encode(), key=self._lot[:64], digest_size=4).digest()
        return int.from_bytes(drawn, "big") < self._sample * 0x1_0000_0000

    def _send(self, items: list[_Item]) -> Sent:
        if self._transport is None:
            self._transport = _transport(self._connection_string, self._client_id, self._call_seconds)
        return self._transport.send([self._envelope(item, self._transport) for item in items])

    def _envelope(self, item: _Item, transport: Transport) -> dict[str, Any]:
        type, at, trace_id, parent, tenant_id, data, sample_rate = item
        tags = {**transport.tags}
        if trace_id:
            tags["ai.operation.id"] = trace_id
        if parent:
            tags["ai.operation.parentId"] = parent
        if type == "Request":
            tags["ai.operation.name"] = data["name"]
        data["ver"] = 2
        data["properties"] = {"tenantId": tenant_id, **self._common, **data.get("properties", {})}
        return {
            "ver": 1,
            "name": f"Microsoft.ApplicationInsights.{type}",
            "time": _instant(at),
            "iKey": transport.key,
            "sampleRate": sample_rate,
            "tags": tags,
            "data": {"baseType": TYPES[type], "baseData": data},
        }


class _Errors(logging.Handler):
    """What is logged as an error is told, with an exception as one; but not what sending itself has to say."""

    def __init__(self, insights: Insights) -> None:
        super().__init__(logging.ERROR)
        self._insights = insights

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "flowgrid.telemetry":
            return
        if record.exc_info and record.exc_info[1] is not None:
            self._insights.exception(record.exc_info[1])
        else:
            self._insights.logged(record)


def _here() -> tuple[str, str]:
    """The trace and the span of the work at hand."""
    span = current.get()
    return ("", "") if span is None else (span.trace_id, span.id)


def _instant(at: float) -> str:
    return f"{_second(int(at))}.{int(at % 1 * 1000):03}Z"


@lru_cache(16)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _duration(seconds: float) -> str:
    """As `d.hh:mm:ss.fff`."""
    if 0 <= seconds < 59.9995:
        return f"0.00:00:{seconds:06.3f}"
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}.{hours:02}:{minutes:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"


def _told(error: BaseException) -> list[dict[str, Any]]:
    """The exception and what led to it: types and places, and of the words only those of the system (log.py)."""
    told: list[dict[str, Any]] = []
    following: BaseException | None = error
    while following is not None and len(told) < CAUSES:
        frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(following.__traceback__)][-FRAMES:]
        places = [
            {"level": level, "method": code.co_name, "fileName": code.co_filename[-LONGEST_PLACE:], "line": line}
            for level, (code, line) in enumerate(reversed(frames))
        ]
        number = len(told) + 1
        one = {"id": number, "outerId": number - 1, "typeName": type(following).__name__, "parsedStack": places}
        told.append({**one, "message": struck(said(following))[:LONGEST], "hasFullStack": True})
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)
    return told


def _transport(connection_string: str, client_id: str | None, call_seconds: float) -> Transport:
    """Loads opencensus; takes some hundred milliseconds."""
    os.environ.setdefault("APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # locale.getdefaultlocale
        from opencensus.ext.azure.common import Options, utils
        from opencensus.ext.azure.common.transport import TransportMixin, TransportStatusCode
    quiet = logging.getLogger("opencensus")  # it logs addresses and answers, and on this way they would come back
    quiet.propagate = False
    options = Options(
        connection_string=connection_string, credential=_credential(client_id), timeout=call_seconds, proxies="{}"
    )
    options.endpoint = options.endpoint.rstrip("/")
    utils.validate_instrumentation_key(options.instrumentation_key)
    refused = _Refused()
    quiet.addHandler(refused)

    class Sending(TransportMixin):  # type: ignore[misc]
        key: str = options.instrumentation_key
        tags: Mapping[str, str] = {
            "ai.cloud.role": ROLE,
            "ai.cloud.roleInstance": os.environ.get("WEBSITE_INSTANCE_ID") or platform.node(),
            "ai.application.ver": VERSION,
            "ai.internal.sdkVersion": utils.azure_monitor_context["ai.internal.sdkVersion"],
        }

        def __init__(self) -> None:
            self.options = options
            self.storage = _Again()

        def send(self, envelopes: list[dict[str, Any]]) -> Sent:
            self._consecutive_redirects = 0
            self.storage.envelopes, refused.count = None, 0
            status = self._transmit(envelopes)
            if status is TransportStatusCode.RETRY:
                return Sent(later=range(len(envelopes)))
            if status is TransportStatusCode.SUCCESS:
                return Sent()
            again = self.storage.envelopes
            if again is None and not refused.count:
                return Sent(dropped=len(envelopes))
            ids = set(map(id, again or []))  # of an answer in part (206): what is to come again, and what is refused
            return Sent([place for place, one in enumerate(envelopes) if id(one) in ids], refused.count)

        def _transmit(self, envelopes: list[dict[str, Any]]) -> Any:
            """Once more for each redirect, which may go from a stamp of Azure's to another, and nowhere else."""
            if self._consecutive_redirects and not _is_stamp(self.options.endpoint):
                self.options.endpoint = endpoint
                return TransportStatusCode.DROP
            return super()._transmit(envelopes)

        def _check_stats_collection(self) -> bool:
            """Only so is what had no answer sent again (transport.py). It counts in a dict that nobody sends."""
            return True

    endpoint = options.endpoint
    return Sending()


class _Again:
    """Where opencensus puts what an answer in part (206) asks for again: they are its own envelopes."""

    envelopes: list[dict[str, Any]] | None = None

    def put(self, envelopes: list[dict[str, Any]]) -> None:
        self.envelopes = envelopes


class _Refused(logging.Handler):
    """How many items an answer in part has refused for good, which opencensus tells its log alone."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Data drop"):
            self.count += 1


def _credential(client_id: str | None) -> Any:
    if client_id is None:
        return None
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=client_id or None)


def _is_stamp(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" and (parts.hostname or "").endswith(STAMPS) and parts.username is None

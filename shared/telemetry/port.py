"""The telemetry port: what has happened, told to whoever looks after the platform. Whoever tells does not wait.

Nothing of a person goes through it: no e-mail, name, prompt, output, token, key, query string or body. Operations are
named by their route's template, calls by host, queue or area, exceptions by type and place (docs/decisions/0045).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter, time

from shared.telemetry.log import log_fields
from shared.tracing import Call, Span, begun, within


class Telemetry:
    """This one is off: it forgets what it is told. No method raises, blocks, or keeps what it is given for long."""

    on = False

    def request(
        self, span: Span, name: str, *, started: float, seconds: float, result: str, ok: bool, tenant_id: str
    ) -> None:
        """A call to one of our functions, or a timer or message; `started` in epoch seconds."""

    def dependency(self, call: Call) -> None:
        """A call of ours to something else."""

    def exception(self, error: BaseException) -> None:
        """What nobody had reckoned with; of the tenant and the request at hand."""

    def event(self, name: str, tenant_id: str, properties: Mapping[str, str]) -> None:
        """Something that is counted by name."""

    def metric(self, name: str, tenant_id: str, value: float, properties: Mapping[str, str], count: int = 1) -> None:
        """A figure; `value` is the sum of so many."""

    async def close(self) -> None:
        """Send what is left, within a bound."""


OFF = Telemetry()


@contextmanager
def invocation(telemetry: Telemetry, name: str, *, traceparent: str = "", tenant_id: str = "") -> Iterator[None]:
    """The block is what a timer or a message has begun; what it raises goes on to the host, which tries again."""
    span, started, since = begun(traceparent), time(), perf_counter()
    fields = {"operation": name, "tenant_id": tenant_id} if tenant_id else {"operation": name}
    before = log_fields.set(fields)
    ok, result = True, "0"
    try:
        with within(span):
            try:
                yield
            except Exception as error:
                telemetry.exception(error)
                raise
    except BaseException as error:
        ok, result = False, type(error).__name__
        raise
    finally:
        log_fields.reset(before)
        seconds = perf_counter() - since
        told = {"started": started, "seconds": seconds}
        telemetry.request(span, name, **told, result=result, ok=ok, tenant_id=tenant_id)

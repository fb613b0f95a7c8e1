"""What an HTTP call is to telemetry: a request, named by its route, and of a tenant's user the event `API Call`."""

from shared.http.answers import Answered
from shared.http.routes import Route
from shared.telemetry.log import log_fields
from shared.telemetry.port import Telemetry
from shared.tracing import current


def observe(telemetry: Telemetry, answered: Answered, route: Route, method: str, status: int, seconds: float) -> None:
    """Tell of a call that is over. A failure is one of ours, 500 and above: whoever asks for too much has succeeded."""
    span = current.get()
    if not telemetry.on or span is None:
        return
    endpoint, tenant_id = f"/api/{route.path}", log_fields.get({}).get("tenant_id", "")
    telemetry.request(
        span,
        f"{method} {endpoint}",
        started=answered.started.timestamp(),
        seconds=seconds,
        result=str(status),
        ok=status < 500,
        tenant_id=tenant_id,
    )
    if answered.session is not None:
        told = {"endpoint": endpoint, "method": method, "status": str(status)}
        telemetry.event("API Call", tenant_id, told)

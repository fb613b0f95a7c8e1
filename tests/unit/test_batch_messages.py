"""A batch of messages is made here, in one pass; it is what the SDK's converter would make."""

from types import SimpleNamespace
from typing import Any

import azure.functions as func
import pytest
from azure.functions.meta import Datum
from azure.functions.servicebus import ServiceBusMessageInConverter

from local.messages import body_of, many, metadata_of, metadata_of_many, service_bus_batch
from shared.messaging.port import Message
from tests.unit.world import TENANT_ID

PROPERTIES = [name for name, value in vars(func.ServiceBusMessage).items() if isinstance(value, property)]
MESSAGES = [(Message(f"m-{number}", TENANT_ID, {"number": number, "name": "Zoë"}), number + 1) for number in range(3)]


def converted(data_type: str | None) -> list[Any]:
    kind, value = many([body_of(message) for message, _ in MESSAGES], data_type)
    bodies = value if kind == "json" else SimpleNamespace(bytes=value)
    metadata = metadata_of_many([metadata_of(message, deliveries) for message, deliveries in MESSAGES])
    decoded: Any = ServiceBusMessageInConverter.decode(Datum(bodies, kind), trigger_metadata=metadata)
    return list(decoded)


def seen(message: Any) -> dict[str, Any]:
    """All that a handler can see of it; locks are another each time."""
    values: dict[str, Any] = {"body": message.get_body()}
    for name in PROPERTIES:
        if name in ("lock_token", "metadata"):
            continue
        try:
            values[name] = getattr(message, name)
        except NotImplementedError:
            values[name] = NotImplementedError
    return values


@pytest.mark.parametrize("data_type", [None, "BINARY"])
def test_a_batch_is_what_the_sdk_would_make_of_it(data_type: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.messages.uuid4", lambda: "a lock")
    own = service_bus_batch(MESSAGES, data_type)
    theirs = converted(data_type)
    assert [seen(one) for one in own] == [seen(one) for one in theirs]
    assert [(one.lock_token, one.metadata) for one in own] == [(one.lock_token, one.metadata) for one in theirs]

"""The usage queue's function: takes events by the batch."""

from typing import List  # noqa: UP035  the Functions worker does not load a function annotated with list[…]

import azure.functions as func

from functions.usage.metering import Metering
from shared.messaging.received import Unread
from shared.telemetry.port import Telemetry, invocation


def blueprint(metering: Metering, telemetry: Telemetry) -> func.Blueprint:
    queues = func.Blueprint()

    @queues.function_name("store_usage")
    @queues.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="%USAGE_QUEUE%",
        connection="ServiceBusConnection",
        cardinality=func.Cardinality.MANY,
        data_type=func.DataType.BINARY,  # else the host rewrites bodies, and fails all for one that is no JSON (0023)
    )
    async def store_usage(messages: List[func.ServiceBusMessage]) -> None:  # noqa: UP006
        with invocation(telemetry, "store_usage"):  # of many tenants and traces
            await metering.store(Unread(messages))

    return queues

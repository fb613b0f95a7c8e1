"""The usage queue's function: takes events by the batch."""

import azure.functions as func

from functions.usage.metering import Metering
from shared.messaging.received import message_of


def blueprint(metering: Metering) -> func.Blueprint:
    queues = func.Blueprint()

    @queues.function_name("store_usage")
    @queues.service_bus_queue_trigger(
        arg_name="messages",
        queue_name="%USAGE_QUEUE%",
        connection="ServiceBusConnection",
        cardinality=func.Cardinality.MANY,
    )
    async def store_usage(messages: list[func.ServiceBusMessage]) -> None:
        await metering.store([message_of(message) for message in messages])

    return queues

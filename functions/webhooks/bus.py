"""The deliveries' queue: one message, one line, or what a change has left to be handed out."""

import azure.functions as func

from functions.webhooks.working import Deliverer
from shared.messaging.received import message_of


def blueprint(deliverer: Deliverer) -> func.Blueprint:
    queues = func.Blueprint()

    @queues.function_name("deliver")
    @queues.service_bus_queue_trigger(
        arg_name="message", queue_name="%DELIVERIES_QUEUE%", connection="ServiceBusConnection"
    )
    async def deliver(message: func.ServiceBusMessage) -> None:
        await deliverer.take(message_of(message))

    return queues

"""The jobs queue's function: one slice of one job a message."""

import azure.functions as func

from functions.platform.consumers import Consumers
from shared.messaging.received import message_of


def blueprint(consumers: Consumers) -> func.Blueprint:
    queues = func.Blueprint()

    @queues.function_name("run_job")
    @queues.service_bus_queue_trigger(arg_name="message", queue_name="%JOBS_QUEUE%", connection="ServiceBusConnection")
    async def run_job(message: func.ServiceBusMessage) -> None:
        await consumers.run_job(message_of(message))

    return queues

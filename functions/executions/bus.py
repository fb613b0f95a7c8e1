"""The runs' queue: one message, one run."""

import azure.functions as func

from functions.executions.messages import RunMessages
from shared.messaging.received import message_of


def blueprint(messages: RunMessages) -> func.Blueprint:
    queues = func.Blueprint()

    @queues.function_name("run_execution")
    @queues.service_bus_queue_trigger(
        arg_name="message", queue_name="%EXECUTIONS_QUEUE%", connection="ServiceBusConnection"
    )
    async def run_execution(message: func.ServiceBusMessage) -> None:
        await messages.take(message_of(message))

    return queues

"""The Service Bus extension's batch loop over the real SDK: `RunBatchReceiveLoopAsync` in `ServiceBusListener.cs`.

Up to a hundred messages under a lock that nobody renews, one call of the function at a time; then all of them are
completed, or, when the call or its binding has failed, abandoned at once: there is no pause, and none is spared.
"""

from dataclasses import dataclass

import azure.functions as func
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

from local.bindings import functions_of
from local.queues import QueueTrigger
from local.servicebus import ServiceBusReceiving
from shared.messaging.queues import MESSAGES_AT_ONCE
from shared.messaging.servicebus import incoming
from shared.settings import Settings

WAIT_SECONDS = 0.3


@dataclass(frozen=True)
class Delivery:
    """The ids of the messages, and what the call failed with."""

    ids: list[str]
    error: Exception | None = None


class Listener:
    """One instance's listener of one function of many messages."""

    def __init__(self, app: func.FunctionApp, settings: Settings, name: str, connection: str) -> None:
        function = next(one for one in functions_of(app, settings.values()) if one.name == name)
        self._trigger = QueueTrigger(function, ServiceBusReceiving(connection))  # its binding; it receives nothing
        self._client = ServiceBusClient.from_connection_string(connection)
        self._receiver: ServiceBusReceiver | None = None

    async def deliver(self, *, settle: bool = True) -> Delivery:
        """One delivery; without `settle` as if the worker had died right after the call."""
        found = await self._received()
        error: Exception | None = None
        try:
            if found:
                await self._trigger.call([(incoming(one), (one.delivery_count or 0) + 1) for one in found])
        except Exception as raised:
            error = raised
        receiver = await self._open()
        for one in found if settle else []:
            await (receiver.complete_message(one) if error is None else receiver.abandon_message(one))
        return Delivery([str(one.message_id) for one in found], error)

    async def _received(self) -> list[ServiceBusReceivedMessage]:
        receiver, found = await self._open(), list[ServiceBusReceivedMessage]()
        while len(found) < MESSAGES_AT_ONCE:
            some = await receiver.receive_messages(MESSAGES_AT_ONCE - len(found), max_wait_time=WAIT_SECONDS)
            if not some:
                break
            found += some
        return found

    async def _open(self) -> ServiceBusReceiver:
        if self._receiver is None:
            self._receiver = self._client.get_queue_receiver(self._trigger.queue)
            await self._receiver.__aenter__()
        return self._receiver

    async def close(self) -> None:
        if self._receiver is not None:
            await self._receiver.close()
        await self._client.close()

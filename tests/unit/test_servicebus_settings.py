"""The settings of the Service Bus mode, and the adapter that they choose."""

import pytest

from functions.kinds import KINDS
from shared.adapters import build
from shared.clock import SystemClock
from shared.messaging.servicebus import ServiceBusMessaging
from shared.settings import Settings, SettingsError

NAMESPACE = "flowgrid.servicebus.windows.net"
MODE = {
    "FLOWGRID_MESSAGING": "servicebus",
    "ServiceBusConnection__fullyQualifiedNamespace": NAMESPACE,
    "FLOWGRID_ISSUERS": '[{"issuer": "https://login.example/v2.0", "audience": "flowgrid"}]',
}
KEY = "SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=SAS_KEY_VALUE"


def wrong(**environ: str) -> str:
    with pytest.raises(SettingsError) as error:
        Settings.load({**MODE, **environ})
    [line] = str(error.value).splitlines()
    return line


def test_service_bus_needs_a_namespace_or_an_emulator() -> None:
    assert wrong().startswith("FLOWGRID_SERVICEBUS_NAMESPACE: missing; Service Bus namespace, ")


@pytest.mark.parametrize(
    "endpoint",
    [
        f"Endpoint=sb://{NAMESPACE}/",
        "Endpoint=sb://localhost.example.com/",
        f"Endpoint=sb://localhost:5672@{NAMESPACE}/",
        f"Endpoint=sb://localhost/;Endpoint=sb://{NAMESPACE}/",
        f"endpoint=sb://{NAMESPACE}/;Endpoint=sb://localhost/",
        f"Other=Endpoint=sb://localhost/;Endpoint=sb://{NAMESPACE}/",
        "nonsense",
    ],
)
def test_a_connection_string_with_a_key_is_for_emulators_on_this_machine_only(endpoint: str) -> None:
    line = wrong(FLOWGRID_SERVICEBUS_EMULATOR=f"{endpoint};{KEY}")
    assert line.startswith("FLOWGRID_SERVICEBUS_EMULATOR: not a connection to this machine; ")


@pytest.mark.parametrize("host", ["localhost:5672", "127.0.0.1:5672", "localhost", "localhost/", "[::1]:5672"])
def test_an_emulator_is_taken_by_its_connection_string(host: str) -> None:
    connection = f"Endpoint=sb://{host};{KEY};UseDevelopmentEmulator=true;"
    environ = {**MODE, "FLOWGRID_SERVICEBUS_EMULATOR": connection}
    adapters = build(Settings.load(environ), SystemClock(), KINDS)
    assert (isinstance(adapters.messaging, ServiceBusMessaging), adapters.receiving) == (True, None)


def test_a_namespace_is_taken_with_the_apps_own_identity() -> None:
    environ = {**MODE, "FLOWGRID_SERVICEBUS_NAMESPACE": NAMESPACE}
    assert isinstance(build(Settings.load(environ), SystemClock(), KINDS).messaging, ServiceBusMessaging)


def test_nothing_of_it_is_needed_with_the_embedded_queue() -> None:
    assert Settings.load({"FLOWGRID_SERVICEBUS_EMULATOR": "nonsense"}).flowgrid_messaging == "sqlite"


@pytest.mark.parametrize(
    ("environ", "registered"),
    [
        ({}, False),
        ({"ServiceBusConnection": "Endpoint=sb://localhost"}, True),
        ({"ServiceBusConnection__fullyQualifiedNamespace": NAMESPACE}, True),
    ],
)
def test_a_connection_or_a_namespace_registers_the_queue_triggers(environ: dict[str, str], registered: bool) -> None:
    assert Settings.load(environ).queue_triggers is registered


def test_service_bus_without_a_connection_of_the_triggers_is_refused_because_nothing_would_receive() -> None:
    line = wrong(FLOWGRID_SERVICEBUS_NAMESPACE=NAMESPACE, ServiceBusConnection__fullyQualifiedNamespace="")
    assert line.startswith("ServiceBusConnection__fullyQualifiedNamespace: missing, so nothing would receive")


@pytest.mark.parametrize(
    "name", ["ServiceBusConnection", "SERVICEBUSCONNECTION", "ServiceBusConnection__fullyQualifiedNamespace"]
)
def test_either_connection_of_the_triggers_will_do(name: str) -> None:
    environ = {**MODE, "FLOWGRID_SERVICEBUS_NAMESPACE": NAMESPACE, "ServiceBusConnection__fullyQualifiedNamespace": ""}
    assert Settings.load({**environ, name: NAMESPACE}).queue_triggers

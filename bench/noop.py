"""The baseline: a function that does nothing, on the same local host. `python -m bench.noop FOLDER`."""

import sys
from pathlib import Path

import azure.functions as func

from cli.server import Server, base_url, listen, stopping_on_sigterm
from local.host import Host
from shared.clock import SystemClock
from shared.messaging.sqlite import SqliteMessaging


def serve(folder: Path) -> None:
    """Serve `GET /api/noop` on a free port, which is printed once calls are taken."""
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)

    @app.route(route="noop")
    async def noop(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse(b"{}", mimetype="application/json")

    messaging = SqliteMessaging(folder / "queues", SystemClock())
    host = Host(app, state=folder, messaging=messaging, values={})
    with listen("127.0.0.1", 0) as listening:
        url = base_url("127.0.0.1", listening.getsockname()[1])

        async def ready() -> None:
            print(f"ready on {url}", flush=True)

        with stopping_on_sigterm():
            Server(host.asgi(), ready=ready, close=messaging.close).run(sockets=[listening])


if __name__ == "__main__":
    serve(Path(sys.argv[1]))

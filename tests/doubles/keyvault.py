"""A small Azure Key Vault: secrets, soft delete and recovery, with challenge authentication.

https://learn.microsoft.com/rest/api/keyvault/secrets: a deletion or a recovery takes a while (`slow` looks at it here);
until then the name answers 409, and a deleted one does so until it is recovered.
"""

from dataclasses import dataclass, field
from typing import Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

State = Literal["there", "deleting", "deleted", "recovering"]
CHALLENGE = 'Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://vault.azure.net"'
NEXT: dict[State, State] = {"deleting": "deleted", "recovering": "there"}


@dataclass
class Secret:
    value: str
    state: State = "there"
    looks: int = 0


@dataclass
class KeyVaultDouble:
    secrets: dict[str, Secret] = field(default_factory=dict)
    slow: int = 0
    refuse: int | None = None
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/secrets/{name}", self._set, methods=["PUT"]),
                Route("/secrets/{name}", self._delete, methods=["DELETE"]),
                Route("/secrets/{name}", self._get, methods=["GET"]),
                Route("/secrets/{name}/{version:path}", self._get, methods=["GET"]),
                Route("/deletedsecrets/{name}", self._get_deleted, methods=["GET"]),
                Route("/deletedsecrets/{name}/recover", self._recover, methods=["POST"]),
            ]
        )

    async def _set(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        name, body = request.path_params["name"], await request.json()
        secret = self._look(name)
        if secret is not None and secret.state != "there":
            return _error(409, "Conflict", f"Secret {name} is currently in a {secret.state} state.")
        self.secrets[name] = Secret(body["value"])
        return self._bundle(request, name)

    async def _get(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        secret = self._look(request.path_params["name"])
        if secret is None or secret.state != "there":
            return _error(404, "SecretNotFound", "A secret with (name/id) was not found in this key vault.")
        return self._bundle(request, request.path_params["name"])

    async def _delete(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        name = request.path_params["name"]
        secret = self._look(name)
        if secret is None or secret.state == "deleted":
            return _error(404, "SecretNotFound", "A secret with (name/id) was not found in this key vault.")
        if secret.state != "there":
            return _error(409, "Conflict", f"Secret {name} is currently in a {secret.state} state.")
        secret.state, secret.looks = "deleting", self.slow
        return self._bundle(request, name, recoveryId=f"{_base(request)}/deletedsecrets/{name}")

    async def _get_deleted(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        name = request.path_params["name"]
        secret = self._look(name)
        if secret is None or secret.state != "deleted":
            return _error(404, "SecretNotFound", f"Deleted Secret not found: {name}")
        return self._bundle(request, name, recoveryId=f"{_base(request)}/deletedsecrets/{name}")

    async def _recover(self, request: Request) -> Response:
        if refused := self._refused(request):
            return refused
        name = request.path_params["name"]
        secret = self._look(name)
        if secret is None or secret.state == "there":
            return _error(404, "SecretNotFound", f"Deleted Secret not found: {name}")
        if secret.state != "deleted":
            return _error(409, "Conflict", f"Secret {name} is currently in a {secret.state} state.")
        secret.state, secret.looks = "recovering", self.slow
        return self._bundle(request, name)

    def _look(self, name: str) -> Secret | None:
        """Time passes by being looked at."""
        secret = self.secrets.get(name)
        if secret is not None and secret.state in NEXT:
            if secret.looks == 0:
                secret.state = NEXT[secret.state]
            secret.looks -= 1
        return secret

    def _refused(self, request: Request) -> Response | None:
        self.requests.append(f"{request.method} {request.url.path.rstrip('/')}")
        authorization = request.headers.get("authorization")
        if authorization is None:
            return Response(status_code=401, headers={"www-authenticate": CHALLENGE})
        self.tokens.add(authorization)
        return _error(self.refuse, "Refused", "No.") if self.refuse else None

    def _bundle(self, request: Request, name: str, **more: str) -> Response:
        id = f"{_base(request)}/secrets/{name}/0123456789abcdef0123456789abcdef"
        attributes = {"enabled": True, "created": 1764000000, "updated": 1764000000, "recoveryLevel": "Recoverable"}
        return JSONResponse({"value": self.secrets[name].value, "id": id, "attributes": attributes, **more})


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)

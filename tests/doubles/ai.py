"""AI providers on this machine: OpenAI's chat completions, Azure's path of it, Anthropic's messages.

What they answer is a script, of the model that is asked for or of any, taken turn by turn; an empty one answers `done`.
Each keeps what it was asked, and counts the usage that it has told, per key, as a provider's bill would.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tests.doubles.server import serving

HANGS_SECONDS = 1.0


@dataclass(frozen=True)
class Reply:
    """One answer. `input` counts all of it, of which `cached` was in the provider's cache and `written` went there."""

    text: str = "done"
    calls: Sequence[tuple[str, str | Mapping[str, Any]]] = ()  # name, arguments (text: as it is)
    input: int = 100
    output: int = 10
    cached: int = 0
    written: int = 0
    finish: str | None = None  # as the provider calls it
    model: str | None = None  # that has answered
    thinking: str | None = None
    usage: bool = True


@dataclass(frozen=True)
class Fault:
    """An answer that is none. `status` 0: the connection is cut; `hangs`: nothing comes; `body`: sent as it is."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = "{}"
    hangs: bool = False


@dataclass(frozen=True)
class Asked:
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class Cut(Response):
    """Half an answer, and then nobody."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
        await send({"type": "http.response.body", "body": b'{"id": ', "more_body": False})


@dataclass
class AiDouble:
    url: str = ""
    script: list[Reply | Fault] = field(default_factory=list)
    scripts: dict[str, list[Reply | Fault]] = field(default_factory=dict)
    """Of one model each; they come first."""
    asked: list[Asked] = field(default_factory=list)
    billed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(key, input|output|cached) -> tokens; (key, answers) -> how many they are of."""
    billed_models: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(key, model) -> tokens, input and output together."""
    on_asked: Callable[[], object] = lambda: None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._openai, methods=["POST"]),
                Route("/openai/deployments/{model}/chat/completions", self._openai, methods=["POST"]),
                Route("/v1/messages", self._anthropic, methods=["POST"]),
                *(Route(path, self._models, methods=["GET"]) for path in ("/v1/models", "/openai/models")),
            ]
        )

    async def _openai(self, request: Request) -> Response:
        reply = await self._next(request)
        if isinstance(reply, Response):
            return reply
        message: dict[str, Any] = {"role": "assistant", "content": None if reply.calls else reply.text}
        if reply.thinking:
            message["reasoning_content"] = reply.thinking
        if reply.calls:
            message["tool_calls"] = [
                {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": _text(arguments)}}
                for n, (name, arguments) in enumerate(reply.calls)
            ]
        finish = reply.finish or ("tool_calls" if reply.calls else "stop")
        usage = {
            "prompt_tokens": reply.input,
            "completion_tokens": reply.output,
            "total_tokens": reply.input + reply.output,
            "prompt_tokens_details": {"cached_tokens": reply.cached},
        }
        return JSONResponse(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1764000000,
                "model": reply.model or self.asked[-1].body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": finish}],
                **({"usage": usage} if reply.usage else {}),
            }
        )

    async def _anthropic(self, request: Request) -> Response:
        reply = await self._next(request)
        if isinstance(reply, Response):
            return reply
        thinking = {"type": "thinking", "thinking": reply.thinking, "signature": "signed-by-the-double"}
        content = [
            *([thinking] if reply.thinking else []),
            *([] if reply.calls else [{"type": "text", "text": reply.text}]),
            *(
                {"type": "tool_use", "id": f"toolu_{n}", "name": name, "input": _value(arguments)}
                for n, (name, arguments) in enumerate(reply.calls)
            ),
        ]
        usage = {
            "input_tokens": reply.input - reply.cached - reply.written,
            "cache_read_input_tokens": reply.cached,
            "cache_creation_input_tokens": reply.written,
            "output_tokens": reply.output,
        }
        return JSONResponse(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": reply.model or self.asked[-1].body["model"],
                "content": content,
                "stop_reason": reply.finish or ("tool_use" if reply.calls else "end_turn"),
                "stop_sequence": None,
                "usage": usage if reply.usage else {"input_tokens": 0, "output_tokens": 0},
            }
        )

    async def _models(self, request: Request) -> Response:
        """Its list of models, which costs nothing; a fault of the script comes here too."""
        self.asked.append(Asked(f"{request.url.path}?{request.url.query}", dict(request.headers), {}))
        fault = self.script.pop(0) if self.script else None
        if not isinstance(fault, Fault):
            return JSONResponse({"object": "list", "data": []})
        if fault.hangs:
            await asyncio.wait({asyncio.ensure_future(_gone(request))}, timeout=HANGS_SECONDS)
        return Cut() if fault.status == 0 else Response(fault.body, fault.status, fault.headers, "application/json")

    async def _next(self, request: Request) -> Reply | Response:
        body = json.loads(await request.body())
        self.asked.append(Asked(request.url.path, dict(request.headers), body))
        self.on_asked()
        script = self.scripts.get(body["model"]) or self.script
        reply = script.pop(0) if script else Reply()
        if isinstance(reply, Reply):
            self._bill(key_of(request.headers), reply.model or body["model"], reply)
            return reply
        if reply.hangs:
            await asyncio.wait({asyncio.ensure_future(_gone(request))}, timeout=HANGS_SECONDS)
        if reply.status == 0:
            return Cut()
        return Response(reply.body, reply.status, reply.headers, "application/json")

    def _bill(self, key: str, model: str, reply: Reply) -> None:
        self.billed.update({(key, "input"): reply.input, (key, "output"): reply.output, (key, "cached"): reply.cached})
        self.billed[key, "answers"] += 1
        self.billed_models[key, model] += reply.input + reply.output

    def reset(self) -> None:
        self.script, self.scripts, self.asked, self.on_asked = [], {}, [], lambda: None
        self.billed, self.billed_models = Counter(), Counter()


@contextmanager
def ai_double() -> Iterator[AiDouble]:
    double = AiDouble()
    with serving(double.app()) as url:
        double.url = url
        yield double


def key_of(headers: Mapping[str, str]) -> str:
    """The key that came, in whichever header."""
    named = headers.get("api-key") or headers.get("x-api-key")
    return named or headers.get("authorization", "").removeprefix("Bearer ")


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _text(arguments: str | Mapping[str, Any]) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _value(arguments: str | Mapping[str, Any]) -> Any:
    return json.loads(arguments) if isinstance(arguments, str) else arguments

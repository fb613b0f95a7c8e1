"""Agent cards: what an agent is, how it is called, and by what (specification §4.4, §8)."""

from typing import Any, Final

from functions.agents.models import Agent

VERSION: Final = "1.0"
WORDS: Final = ["text/plain", "application/json"]
_TOKEN: Final = "A token of an identity provider that Flowgrid trusts."  # noqa: S105 - words about one
_KEY: Final = "An API key of Flowgrid, in the same header: `Authorization: Bearer fg_…`."


def card_of(agent: Agent, url: str) -> dict[str, Any]:
    """`url`: the base of the agent's routes, as the caller has named the host."""
    description = agent.description or f"The agent {agent.name}."
    skill = {"id": agent.id, "name": agent.name, "description": description, "tags": [agent.pattern]}
    return {
        "name": agent.name,
        "description": description,
        "supportedInterfaces": [{"url": url, "protocolBinding": "HTTP+JSON", "protocolVersion": VERSION}],
        "version": str(agent.revision),
        "capabilities": {"streaming": False, "pushNotifications": False, "extendedAgentCard": False},
        "securitySchemes": {
            "token": _bearer("JWT", _TOKEN),
            "key": _bearer("Flowgrid API key", _KEY),
        },
        "securityRequirements": [{"schemes": {"token": {"list": []}}}, {"schemes": {"key": {"list": []}}}],
        "defaultInputModes": WORDS,
        "defaultOutputModes": WORDS,
        "skills": [skill],
    }


def _bearer(form: str, description: str) -> dict[str, Any]:
    return {"httpAuthSecurityScheme": {"scheme": "Bearer", "bearerFormat": form, "description": description}}

"""Why an MCP server has given no result. The message follows the server's name, and is told to models as well."""

from typing import Any, Final

from shared.errors import Conflict, PeerFailed

MAX_SAID: Final = 500  # characters of what a server says went wrong
NOT_KNOWN: Final = "whether it has done what was asked is not known"


class McpUnreachable(PeerFailed):
    code = "mcp_unreachable"
    meaning = "The MCP server was not called, or could not be: nothing was done."
    remedy = "Look at its `url`, and whether it is public and up."


class McpUnauthorized(PeerFailed):
    code = "mcp_unauthorized"
    meaning = "The MCP server does not take the secret, or there is none any more: nothing was done."
    remedy = "Have an admin send its `secret` again (`PATCH v1/mcp-servers/{id}`)."


class McpTooSlow(PeerFailed):
    code = "mcp_too_slow"
    meaning = "The MCP server did not answer in time; whether it has done what was asked is not known."
    remedy = "Look there before it is asked again; give it more `timeout_seconds`."


class McpTooLarge(PeerFailed):
    code = "mcp_too_large"
    meaning = "The MCP server answers with more than is taken, or with more tools than are kept."
    remedy = "Ask for less; give it fewer tools (docs/limits.md)."


class McpMalformed(PeerFailed):
    code = "mcp_malformed"
    meaning = "What the MCP server sent is no answer of the protocol."
    remedy = "Look whether `url` is that of an MCP server that speaks streamable HTTP."


class McpVersion(PeerFailed):
    code = "mcp_version"
    meaning = "The MCP server speaks another version of the protocol than was agreed, or none that is known here."
    remedy = "Refresh it (`POST v1/mcp-servers/{id}/refresh`)."


class McpChanged(PeerFailed):
    code = "mcp_tool_changed"
    meaning = "The tool, or its MCP server, is not what it was, or it needs an approval by now: it was not called."
    remedy = "Have an admin look at what has changed and take it (`POST v1/mcp-servers/{id}/refresh`)."


class McpOtherTools(Conflict):
    code = "mcp_other_tools"
    meaning = "The MCP server has other tools by now than those that were expected: none was taken."
    remedy = "Look at them with `dry_run`, and send the `tools_digest` of that as `expect`."


class McpSessionLost(PeerFailed):
    code = "mcp_session_lost"
    meaning = "The MCP server forgets its sessions at once: nothing was done."
    remedy = "Have all of its instances share their sessions, or have none."

    def __init__(self) -> None:
        super().__init__("has forgotten its session at once; nothing was done")


class McpError(PeerFailed):
    """A JSON-RPC error."""

    code = "mcp_error"
    meaning = "The MCP server answered with an error; `detail` says which."
    remedy = "Mend what it says is wrong, here or there."

    def __init__(self, number: Any, said: Any) -> None:
        number = number if isinstance(number, int) else 0
        super().__init__(f"answered with error {number}: {in_short(said)}")


class McpStatus(PeerFailed):
    """A status of HTTP that is none of success, and no JSON-RPC error behind it."""

    code = "mcp_status"
    meaning = "The MCP server answered with a status of HTTP that is none of success."
    remedy = "Look whether `url` is that of an MCP server; redirects are not followed."

    def __init__(self, status: int) -> None:
        why = "redirects are not followed" if 300 <= status < 400 else NOT_KNOWN
        super().__init__(f"answered {status}: {why}")
        self.status = status


OF_NO_ANSWER: Final = (McpTooSlow, McpTooLarge, McpMalformed)
"""What there is instead of the whole answer to a call that has gone out: it was done, or it was not."""


def in_short(said: Any) -> str:
    """What a server says, on one line, as far as it is shown."""
    return " ".join(said[: 2 * MAX_SAID].split())[:MAX_SAID] if isinstance(said, str) else ""

"""What Schemathesis cannot know when it makes a request that should be accepted; see `test_schemathesis.py`.

Only requests that should be accepted are touched: those that should be refused stay as wild as they are.
"""

from typing import Any

import schemathesis
from schemathesis import Case, GenerationMode, HookContext


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Cursors, element ids and ETags come from the API; made up ones are rightly refused (400, 412)."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    case.query.pop("cursor", None)
    if "If-Match" in case.headers:
        case.headers["If-Match"] = "*"
    if isinstance(case.body, dict) and case.body.get("element_id") is not None:
        case.body["element_id"] = None

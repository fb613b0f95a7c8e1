"""Policy statements that ours are made of: elements with their attributes, and the sections in which they may be.

As they are documented at https://learn.microsoft.com/azure/api-management/api-management-policies, each on the page of
its name (`…/validate-jwt-policy`). True: the attribute is required.
"""

from collections.abc import Mapping
from xml.etree.ElementTree import Element

Attributes = Mapping[str, bool]
IN, OUT, ERROR = "inbound", "outbound", "on-error"
EVERYWHERE = frozenset({IN, "backend", OUT, ERROR})
STATEMENTS: Mapping[str, tuple[frozenset[str], Attributes]] = {
    "base": (EVERYWHERE, {}),
    "authentication-managed-identity": (
        frozenset({IN}),
        {"resource": True, "client-id": False, "output-token-variable-name": False, "ignore-error": False},
    ),
    "cache-lookup-value": (
        EVERYWHERE,
        {"key": True, "variable-name": True, "default-value": False, "caching-type": False},
    ),
    "cache-store-value": (EVERYWHERE, {"key": True, "value": True, "duration": True, "caching-type": False}),
    "choose": (EVERYWHERE, {}),
    "cors": (frozenset({IN}), {"allow-credentials": False, "terminate-unmatched-request": False}),
    "forward-request": (
        frozenset({"backend"}),
        {
            "http-version": False,
            "timeout": False,
            "timeout-ms": False,
            "continue-timeout": False,
            "follow-redirects": False,
            "buffer-request-body": False,
            "buffer-response": False,
            "fail-on-error-status-code": False,
        },
    ),
    "rate-limit-by-key": (
        frozenset({IN}),
        {
            "calls": True,
            "renewal-period": True,
            "counter-key": True,
            "increment-condition": False,
            "increment-count": False,
            "retry-after-header-name": False,
            "retry-after-variable-name": False,
            "remaining-calls-header-name": False,
            "remaining-calls-variable-name": False,
            "total-calls-header-name": False,
        },
    ),
    "return-response": (EVERYWHERE, {"response-variable-name": False}),
    "set-backend-service": (frozenset({IN, "backend"}), {"base-url": False, "backend-id": False}),
    "set-header": (EVERYWHERE, {"name": True, "exists-action": False}),
    "set-variable": (EVERYWHERE, {"name": True, "value": True}),
    "validate-jwt": (
        frozenset({IN}),
        {
            "header-name": False,
            "query-parameter-name": False,
            "token-value": False,
            "failed-validation-httpcode": False,
            "failed-validation-error-message": False,
            "require-expiration-time": False,
            "require-scheme": False,
            "require-signed-tokens": False,
            "clock-skew": False,
            "output-token-variable-name": False,
        },
    ),
}
ONCE_IN_A_SECTION = ("cors", "cache-lookup-value", "cache-store-value")
PARTS: Mapping[tuple[str, str], Attributes] = {  # what is within one statement only
    ("choose", "when"): {"condition": True},
    ("choose", "otherwise"): {},
    ("cors", "allowed-origins"): {},
    ("allowed-origins", "origin"): {},
    ("cors", "allowed-methods"): {"preflight-result-max-age": False},
    ("allowed-methods", "method"): {},
    ("cors", "allowed-headers"): {},
    ("allowed-headers", "header"): {},
    ("cors", "expose-headers"): {},
    ("expose-headers", "header"): {},
    ("return-response", "set-status"): {"code": True, "reason": False},
    ("return-response", "set-header"): {"name": True, "exists-action": False},
    ("return-response", "set-body"): {},
    ("set-header", "value"): {},
    ("validate-jwt", "openid-config"): {"url": True},
    ("validate-jwt", "audiences"): {},
    ("audiences", "audience"): {},
    ("validate-jwt", "issuers"): {},
    ("issuers", "issuer"): {},
}
WITH_STATEMENTS = ("when", "otherwise")


def wrong(document: Element) -> list[str]:
    """What the gateway would not take in a whole policy document."""
    if document.tag != "policies" or [one.tag for one in document] != [IN, "backend", OUT, ERROR]:
        return ["it should be policies with inbound, backend, outbound and on-error"]
    found = []
    for section in document:
        found += [one for child in section for one in _statement(child, section.tag)]
        found += [
            f"{name} is there twice in {section.tag}" for name in ONCE_IN_A_SECTION if len(list(section.iter(name))) > 1
        ]
    return found


def _statement(one: Element, section: str) -> list[str]:
    sections, attributes = STATEMENTS.get(one.tag, (frozenset(), {}))
    if section not in sections:
        return [f"there is no {one.tag} in {section}"]
    return _attributes(one, attributes) + [what for child in one for what in _part(one.tag, child, section)]


def _part(parent: str, one: Element, section: str) -> list[str]:
    attributes = PARTS.get((parent, one.tag))
    if attributes is None:
        return [f"there is no {one.tag} in {parent}"]
    found = _attributes(one, attributes)
    if one.tag in WITH_STATEMENTS:
        return found + [what for child in one for what in _statement(child, section)]
    return found + [what for child in one for what in _part(one.tag, child, section)]


def _attributes(one: Element, known: Attributes) -> list[str]:
    unknown = [f"{one.tag} has no attribute {name}" for name in one.attrib if name not in known]
    return unknown + [f"{one.tag} needs {name}" for name, needed in known.items() if needed and name not in one.attrib]

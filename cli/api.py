"""A small client of the API, for the commands that talk to a running Flowgrid."""

from typing import Any

import httpx

PAGE = 200


class Api:
    """Calls with one token; `calls` counts them, so that a demo can compare the count with what was metered."""

    def __init__(self, base_url: str, token: str) -> None:
        self._http = httpx.AsyncClient(
            base_url=f"{base_url}/api/", headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False
        )
        self.calls = 0

    async def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any call, whatever it answers."""
        self.calls += 1
        return await self._http.request(method, path, **options)

    async def ok(self, method: str, path: str, **options: Any) -> Any:
        """A call that has to succeed; its JSON, or None. RuntimeError says what came instead."""
        answer = await self.send(method, path, **options)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content else None

    async def all(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Every item of a list, over all its pages."""
        items: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.ok("GET", path, params={"limit": str(PAGE), **query, **cursor})
            items += page["items"]
            if page["next_cursor"] is None:
                return items
            cursor = {"cursor": page["next_cursor"]}

    async def upload(self, path: str, xml: bytes) -> Any:
        return await self.ok("POST", path, content=xml, headers={"Content-Type": "application/xml"})

    async def close(self) -> None:
        await self._http.aclose()

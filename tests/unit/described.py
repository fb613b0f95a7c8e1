"""Reading the API's description."""

from typing import Any


def whole(schemas: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with all its fields: its own, and those that it takes up by `allOf`."""
    parts = [
        whole(schemas, schemas[part["$ref"].rpartition("/")[2]] if "$ref" in part else part)
        for part in schema.get("allOf", [])
    ]
    parts.append(schema)
    properties = {name: field for part in parts for name, field in part.get("properties", {}).items()}
    required = [name for part in parts for name in part.get("required", [])]
    return {**schema, **({"properties": properties, "required": required} if properties else {})}

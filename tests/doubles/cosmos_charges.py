"""What the double charges: request units by size, by what the index holds, and by what a query loads.

- Key-value cost, without an index (learn.microsoft.com/azure/cosmos-db/key-value-store-cost): 1 KB read 1, write 5;
  100 KB read 10, write 50.
- A small item under the default index: create 6.29, replace 10.29 (OrleansContrib/Orleans.CosmosDB#35), so a replace is
  1.64 creates. A patch saves nothing beside a replace (partial-document-update-faq). A create that is refused: 1.24.
- "All explicitly included paths will have values added to the index for each item" (index-policy): each path, and each
  path of a composite, is taken for 0.05, which is inferred: it makes 33 paths the 7 RU that such writes were seen at.
- Queries (troubleshoot-query-performance): 60,951 documents of 6.4 KB loaded cost 4,060; 8,618 scanned 409; a filter
  with an ORDER BY that names it, in a composite index, 8.86 for the first hundred, and 44.28 without.
"""

import json
from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]

KB = 1024
READ, READ_KB = 1.0, 9 / 99
WRITE, WRITE_KB = 5.0, 45 / 99
REPLACED = 10.29 / 6.29
INDEXED_PATH = 0.05
REFUSED = 1.24
QUERY = 2.8
LOADED, LOADED_KB = 0.02, 0.0065


def read(document: Document) -> float:
    """A point read."""
    return READ + READ_KB * max(0.0, _kilobytes(document) - 1)


def written(policy: Document | None, document: Document) -> float:
    """A create, or the delete of it."""
    return WRITE + WRITE_KB * max(0.0, _kilobytes(document) - 1) + INDEXED_PATH * _indexed_paths(policy, document)


def replaced(policy: Document | None, document: Document) -> float:
    """A replace, or a patch, by what is there afterwards."""
    return REPLACED * written(policy, document)


def queried(loaded: Iterable[Document]) -> float:
    """One page of a query that had to load these documents."""
    return QUERY + sum(LOADED + LOADED_KB * _kilobytes(document) for document in loaded)


def _kilobytes(document: Document) -> float:
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()) / KB


def _indexed_paths(policy: Document | None, document: Document) -> int:
    included = [one["path"] for one in (policy or {"includedPaths": [{"path": "/*"}]}).get("includedPaths", [])]
    composites = sum(len(composite) for composite in (policy or {}).get("compositeIndexes", []))
    return sum(_leaves(document) if path.endswith("/*") else 1 for path in included) + composites


def _leaves(value: Any) -> int:
    if isinstance(value, dict | list):
        return sum(_leaves(one) for one in (value.values() if isinstance(value, dict) else value))
    return 1

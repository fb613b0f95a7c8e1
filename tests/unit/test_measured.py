"""What the cost model reckons with is what the code does now: counted again, on the double of Cosmos DB."""

import json
from typing import Any

import pytest

from bench.ledger import FILE, opened
from bench.measured import calls, measured

WRITTEN: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
ABOUT = (
    "request_units",
    "telemetry_bytes",
    "answer_bytes",
    "blob_bytes",
    "audit_bytes",
)  # times and compression are in them


def counts(figures: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {key: row[key] for key in row if key not in ABOUT} for name, row in figures.items()}


def compared(found: dict[str, dict[str, Any]]) -> None:
    written = {name: WRITTEN["work"][name] for name in found}
    assert counts(found) == counts(written), "run `python -m bench measured`"
    for name, row in found.items():
        for key in ABOUT:
            assert row[key] == pytest.approx(written[name][key], rel=0.02, abs=0.5 if key == "request_units" else 64), (
                name,
                key,
            )


async def test_calls_take_what_is_written_of_them() -> None:
    async with opened() as bench:
        await calls(bench, await bench.onboard("acme"))
        compared(bench.figures)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_all_work_takes_what_is_written_of_it() -> None:
    found = await measured()
    compared(found["work"])
    assert found["work"].keys() == WRITTEN["work"].keys()
    assert found["sizes"] == pytest.approx(WRITTEN["sizes"], rel=0.02)

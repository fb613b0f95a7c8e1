"""Request units are told by tenant and operation, each once."""

import logging

import pytest

from shared.telemetry.charges import Charges


async def test_what_was_spent_is_written_by_tenant_and_operation_and_then_forgotten(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("flowgrid"), "propagate", True)
    caplog.set_level(logging.INFO, logger="flowgrid.charges")
    charges = Charges()
    for tenant, operation, units in (("a", "get", 1.0), ("a", "get", 1.5), ("a", "commit", 7.0), ("b", "get", 1.0)):
        charges.record(tenant, operation, units)
    assert await charges.flush() == 3
    told = {
        (line.__dict__["tenant_id"], line.__dict__["operation"]): (
            line.__dict__["request_units"],
            line.__dict__["calls"],
        )
        for line in caplog.records
    }
    assert told == {("a", "get"): (2.5, 2), ("a", "commit"): (7.0, 1), ("b", "get"): (1.0, 1)}
    assert await charges.flush() == 0

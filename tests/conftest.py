"""What tests share: the developer's own settings stay outside, a clock that they own, and the double of Cosmos DB."""

import gc
import inspect
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import pytest
from azure.functions.decorators import utils

from cli.heap import collect_seldom
from tests.doubles.clock import FakeClock
from tests.doubles.cosmos import CosmosDouble

OURS = ("FLOWGRID_", "APPLICATIONINSIGHTS_")
for name in [name for name in os.environ if name.upper().startswith(OURS)]:
    del os.environ[name]  # the app reads its environment when it is imported

MEMORY, ROOM = "/dev/shm", 6 * 1024**3
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
    for name in ("PYTEST_DEBUG_TEMPROOT", "TMPDIR"):  # else most of a run is waiting for a disk
        os.environ.setdefault(name, MEMORY)
    tempfile.tempdir = None  # so that it is asked for anew

# Each route asks for the signatures of the same few library classes, and most tests compose an app with all routes.
cast(Any, utils).inspect = SimpleNamespace(**{**vars(inspect), "signature": cache(inspect.signature)})


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is there for the whole run is nothing that the garbage collector has to walk through again and again."""
    gc.disable()
    yield
    gc.collect()
    collect_seldom()
    gc.enable()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def cosmos_server() -> Iterator[CosmosDouble]:
    with CosmosDouble() as double:
        yield double


@pytest.fixture
def cosmos(cosmos_server: CosmosDouble, clock: FakeClock) -> CosmosDouble:
    cosmos_server.reset(lambda: clock.now().timestamp())
    return cosmos_server

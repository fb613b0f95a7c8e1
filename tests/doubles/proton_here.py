"""Imported first by what needs Proton: without it (no C compiler) those tests are skipped, but not in CI."""

import os
from importlib.util import find_spec

import pytest

if find_spec("proton") is None and os.environ.get("CI") != "true":
    pytest.skip("python-qpid-proton is not installed (it needs a C compiler)", allow_module_level=True)

"""A pytest plugin: a test that corrupts the CUDA context ends its process, so that no other test is lost.

pytest-xdist names the test and starts another process; without pytest-xdist the plugin does nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
import torch


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report: Any = yield
    if call.excinfo is not None and "PYTEST_XDIST_WORKER" in os.environ and torch.cuda.is_available():
        try:
            torch.cuda.synchronize()
        except RuntimeError as error:
            print(f"{item.nodeid} broke the context: {error}\n{report.longreprtext}", file=sys.__stderr__, flush=True)
            os._exit(3)
    return report

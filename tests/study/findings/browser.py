"""Which browser the tests drive, and the marks of those that need one."""

from __future__ import annotations

import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None and not os.environ.get("BATCHFRONT_REQUIRE_BROWSER"),
        reason="needs Chromium (Debian package chromium)",
    ),
]

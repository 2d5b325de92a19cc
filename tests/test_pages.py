"""The Python of the pages about joining runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def _blocks(page: str, language: str = "python") -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found, page
    return found


@pytest.mark.slow
def test_the_script_of_the_page_about_python_runs(tmp_path):
    script = _blocks("python.md")[0].replace("n_trials=30", "n_trials=6, epochs=2")
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Train with batch size" in done.stderr
    assert "plotly" in (tmp_path / "page.html").read_text()
    assert (tmp_path / "runs" / "mine.db").exists()

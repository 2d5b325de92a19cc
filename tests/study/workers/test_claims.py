"""What happens under the claim lock, while all other workers wait."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.study.tables import CURVES

SCRIPT = """
    import sys
    from contextlib import contextmanager

    from batchfront.storage.journal import SharedJournalStorage
    from batchfront.study.cli.main import main

    imported = set()
    lock = SharedJournalStorage.claim_lock

    @contextmanager
    def watched(self, *arguments):
        with lock(self, *arguments) as held:
            before = set(sys.modules)
            yield held
            imported.update(set(sys.modules) - before)

    SharedJournalStorage.claim_lock = watched
    code = main(["run", "--task", sys.argv[1], "--n-trials", "9", "--storage", sys.argv[2]])
    asked = "sklearn.gaussian_process" in sys.modules
    heavy = {name.partition(".")[0] for name in imported} & {"sklearn", "scipy", "torch"}
    print(code, asked, sorted(heavy))
"""


@pytest.mark.slow
def test_nothing_heavy_is_imported_under_the_claim_lock(workdir):
    """A second of imports, once for each of many workers, on a busy machine: others gave up."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(CURVES), "journal:///runs/study.log"],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert run.stdout.splitlines()[-1] == "0 True []", run.stderr

"""The example's notebook, cell by cell, and a kernel that is interrupted."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parents[3]
NOTEBOOK = ROOT / "examples" / "notebook.ipynb"
PLOTLY = "application/vnd.plotly.v1+json"

pytestmark = pytest.mark.slow


@pytest.fixture
def kernels(workdir, monkeypatch):
    """Kernels run this interpreter, whatever is installed for the machine, and import our tree."""
    from jupyter_client.kernelspec import KernelSpec

    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = KernelSpec(argv=argv, language="python", display_name="ours")
    monkeypatch.setattr(
        "jupyter_client.kernelspec.KernelSpecManager.get_kernel_spec", lambda *_: spec
    )
    return workdir


def _text(cell: Any) -> str:
    return "".join(out.get("text", "") for out in cell.outputs)


def _shown(cell: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for out in cell.outputs:
        found.update(out.get("data", {}))
    return found


def test_the_notebook_of_the_examples_shows_answer_tables_and_figures(kernels):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "kept without its outputs"
    nbclient.NotebookClient(notebook, timeout=200, kernel_name="python3").execute()
    by_source = {cell.source.splitlines()[0]: cell for cell in notebook.cells}
    ran = by_source["study = bf.Study("]
    assert "12/12 [##########]" in _text(ran)
    assert "\x1b" not in _text(ran), "no codes of a terminal"
    assert {out.name for out in ran.outputs if out.output_type == "stream"} == {"stdout"}, ran
    advice = by_source["study.advise()"]
    assert "Train with batch size" in _text(advice)
    assert "<table" in _shown(advice)["text/html"]
    assert "val_accuracy" in _shown(by_source["study.front()"])["text/html"]
    for plot in ("plot_batch_sizes", "plot_front", "plot_surface"):
        figure = _shown(by_source[f"study.{plot}()"])[PLOTLY]
        assert sum(len(trace.get("x", [])) > 0 for trace in figure["data"]) >= 2, plot
    last = notebook.cells[-1]
    assert "runs/cancer.html" in _text(last)
    assert _shown(last)["text/plain"] == "12"
    assert Path("runs/cancer.html").stat().st_size > 1_000_000


SLOW = """
import time
import batchfront as bf

def objective(params, run):
    run.begin(10 * params.epochs)
    for _ in range(params.epochs):
        for _ in range(10):
            time.sleep(0.01)
            run.step(0.5)
        run.report(0.5)

study = bf.Study(objective, batch_sizes="4:8", learning_rates=0.1, epochs=5, n_trials={n})
study.run()
"""


def test_an_interrupt_of_the_kernel_hands_the_trial_back_and_the_cell_goes_on(kernels):
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute(SLOW.format(n=500), stop_on_error=False)
        said = _until(client, "trial 2 ")
        manager.interrupt_kernel()
        said += _until(client, "KeyboardInterrupt")
        assert "interrupted with" in said
        client.execute("print(sorted({t.state.name for t in study.optuna.trials}), 'states')")
        assert "['COMPLETE', 'FAIL', 'WAITING'] states" in _until(client, "states")
        client.execute(SLOW.format(n=5) + "print('all done')")
        assert "resuming" in _until(client, "all done")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _until(client: Any, word: str) -> str:
    """What the kernel shows up to a word."""
    said, end = "", time.monotonic() + 100
    while word not in said:
        assert time.monotonic() < end, said
        content = client.get_iopub_msg(timeout=100)["content"]
        said += content.get("text", "") + content.get("ename", "")
    return said

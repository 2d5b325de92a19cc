"""Studies on downloaded data sets and on a text, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchfront.objectives.tasks import mnist
from batchfront.study.cli.main import main
from batchfront.study.on_ray.shipment import shipment
from batchfront.study.plan.settings import StudySettings
from tests.image_files import mnist_files, put, small_mnist

from ..conftest import ROOT, stored

RUN = ("run", "--n-trials", "2", "--epochs", "2", "--batch-sizes", "8:8", "--sampler", "random")
MNIST = (*RUN, "--task", "mnist")
OWN = """
    from batchfront import Task
    from batchfront.objectives.tasks.image_models import cnn
    from batchfront.objectives.tasks.images import image_task
    from tests.image_files import small_mnist

    def task(*, data_dir):
        return image_task("mine", small_mnist(), cnn, data_dir=data_dir)
"""


@pytest.fixture
def small(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small data set, which `mnist` takes for its own."""
    monkeypatch.delenv("BATCHFRONT_DATA", raising=False)
    monkeypatch.setattr(mnist, "MNIST", small_mnist())
    put(mnist_files(), workdir / "small" / "mnist")
    return workdir / "small"


def test_a_study_of_mnist_reads_the_data_folder(small, rows):
    assert main([*MNIST, "--data-dir", "small"]) == 0
    assert {row["state"] for row in rows("export")} <= {"COMPLETE", "PRUNED"}
    assert len(rows("export")) == 2


def test_the_data_folder_may_be_another_one_on_every_machine(small, rows, monkeypatch, workdir):
    assert main([*MNIST, "--data-dir", "small"]) == 0
    text = stored(workdir / "runs" / "batchfront.db")
    assert "mnist" in text
    assert "small" not in text
    small.rename(workdir / "elsewhere")
    monkeypatch.setenv("BATCHFRONT_DATA", "elsewhere")
    assert main([*MNIST, "--n-trials", "3"]) == 0
    assert len(rows("export")) == 3


def test_every_verb_that_trains_takes_the_data_folder(small, capsys):
    options = ("--task", "mnist", "--data-dir", "small", "--epochs", "2", "--batch-sizes", "8:8")
    assert main(["probe", *options]) == 0
    assert main(["record", *options, "--n-rates", "1", "--n-seeds", "1"]) == 0
    smallest = ("smallest", *options, "--target", "0.01", "--max-trials", "1", "--seeds", "2")
    assert main([*smallest]) == 0
    assert "mnist" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_workers")
def test_workers_in_processes_of_their_own_get_the_data_folder(
    small, write_task, rows, capsys, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # the task wants tests.image_files
    argv = [*RUN, "--task", write_task(OWN), "--data-dir", "small", "--n-workers", "2"]
    assert main(argv) == 0
    assert "--data-dir small" in capsys.readouterr().err  # what to type to go on
    assert len(rows("export")) == 2


def test_without_a_network_it_is_one_line_and_no_database(workdir, monkeypatch, capsys):
    monkeypatch.delenv("BATCHFRONT_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(mnist, "MNIST", small_mnist(mirrors=("http://127.0.0.1:9/",)))
    assert main([*MNIST]) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert f"error: cannot download {mnist.TRAIN_IMAGES} of mnist" in said
    assert "runs/data/mnist, or name the folder that has mnist/ with --data-dir" in said
    assert not list(workdir.glob("runs/*.db"))


def test_an_empty_data_folder_is_refused(workdir, capsys):
    assert main([*RUN, "--data-dir", " "]) == 2
    assert "data_dir is empty" in capsys.readouterr().err


TEXT = (*RUN, "--task", "text:some.txt")


@pytest.mark.slow
def test_a_study_of_a_text_resumes_and_refuses_another_text(workdir, rows, capsys):
    text = (ROOT / "docs" / "measurement.md").read_text()[:1500]
    (workdir / "some.txt").write_text(text)
    assert main([*TEXT]) == 0
    assert main([*TEXT, "--n-trials", "3"]) == 0
    assert len(rows("export", "--study-name", "text:some.txt")) == 3
    (workdir / "some.txt").write_text(text.upper())
    capsys.readouterr()
    assert main([*TEXT, "--n-trials", "4"]) == 2
    assert "was made with other data" in capsys.readouterr().err


def test_a_ray_node_is_sent_the_text_alone_and_a_data_folder_of_that_name(workdir):
    (workdir / "some.txt").write_text("text " * 200)
    settings = StudySettings(task="text:some.txt", launcher="ray", data_dir="data")
    with shipment(settings) as sent:
        folder = Path(sent.runtime_env["working_dir"])
        assert [path.name for path in folder.iterdir()] == ["some.txt"]
    assert sent.settings.task == sent.settings.study_name == "text:some.txt"
    assert sent.settings.data_dir == str(workdir / "data")

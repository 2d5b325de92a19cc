"""Training curves are written down whole, whatever interrupts."""

from __future__ import annotations

import math
from itertools import accumulate

import pytest

from batchfront.objectives.curves.table import read_table
from batchfront.objectives.curves.write import TableFile, record_run
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from tests.storage.test_url import small_disk

from ..conftest import made_task, ready, train

PARAMS = TrialParams(batch_size=16, learning_rate=0.05, epochs=3, seed=1, device="cpu")
CURVE = [(1.5, 0.5), (1.25, 0.625), (1.0, 0.75)]


@pytest.fixture
def file(tmp_path) -> TableFile:
    path, optimizer = tmp_path / "deep" / "t.csv", "SGD(a, b)"
    return TableFile(path=path, task="made", optimizer=optimizer, length=Length(amount=3))


def _fill(file: TableFile, *keys, curve=CURVE) -> None:
    file.path.parent.mkdir(exist_ok=True)
    file.open()
    for key in keys:
        file.add(key, curve, seconds=0.5, peak=77)


def test_a_recorded_curve_is_that_of_an_ordinary_run():
    objective = ready(made_task())
    curve = record_run(objective, PARAMS, metric="val_accuracy")
    assert tuple(value for _, value in curve) == train(objective).result().metric_curve


def test_the_recorded_loss_is_the_mean_over_the_steps_of_an_epoch():
    def loop(params, run):
        run.begin(5)
        for loss in (1.0, 2.0, 6.0):
            run.step(loss)
        run.report(0.5)
        for loss in (0.25, 0.125):
            run.step(loss)
            run.report(0.75)

    expected = [(3.0, 0.5), (0.25, 0.75), (0.125, 0.75)]
    assert record_run(loop, PARAMS, metric="val_accuracy") == expected


def test_only_a_non_finite_value_ends_a_recorded_run():
    """The divergence guard would have stopped this run long before."""

    def loop(params, run):
        run.begin(300, baseline_loss=1.0)
        for epoch in range(3):
            for _ in range(100):
                run.step(50.0 if epoch < 1 else math.nan)
            run.report(0.1)

    curve = record_run(loop, PARAMS, metric="val_accuracy")
    assert len(curve) == 2
    assert math.isnan(curve[-1][0])


@pytest.mark.parametrize("n_reports", [0, 1, 2, 4])
def test_an_objective_that_does_not_report_once_an_epoch_cannot_be_recorded(n_reports):
    def loop(params, run):
        run.begin(12)
        for _ in range(n_reports):
            run.step(1.0)
            run.report(0.5)

    with pytest.raises(ObjectiveError, match=f"reported {n_reports} times in 3 epochs"):
        record_run(loop, PARAMS, metric="val_accuracy")


def test_two_cannot_record_into_one_file(file):
    with (
        file.locked(),
        pytest.raises(ObjectiveError, match=r"another process is recording into .*t\.csv"),
        file.locked(),
    ):
        pass
    with file.locked():
        _fill(file, (8, 0.1, 0))


def test_what_is_written_reads_back(file):
    _fill(file, (8, 0.1, 0), (8, 0.1, 1))
    table = read_table(file.path)
    assert list(table.runs) == [(8, 0.1, 0), (8, 0.1, 1)]
    run = table.runs[8, 0.1, 1]
    assert list(zip(run.train_loss, run.val_accuracy, strict=True)) == CURVE
    assert run.train_seconds == (0.5, 1.0, 1.5)
    assert (table.optimizer, run.peak_memory_bytes) == ("SGD(a, b)", 77)


def test_a_torn_end_costs_one_run(file):
    """Cut at any byte of the last run, a table opens with the run before it and goes on."""
    _fill(file, (8, 0.1, 0))
    n_before = file.path.stat().st_size
    file.add((8, 0.1, 1), CURVE, seconds=0.5, peak=77)
    whole = file.path.read_bytes()
    for end in range(n_before, len(whole)):
        file.path.write_bytes(whole[:end])
        table = file.open()
        assert table is not None
        assert list(table.runs) == [(8, 0.1, 0)]
        file.add((8, 0.1, 1), CURVE, seconds=0.5, peak=77)
        assert file.path.read_bytes() == whole


def test_a_torn_header_is_written_again(file):
    _fill(file)
    head = file.path.read_bytes()
    file.path.write_bytes(head[:20])
    assert file.open() is None
    assert file.path.read_bytes() == head


def test_a_run_that_ended_early_is_complete_when_its_end_is_not_finite(file):
    _fill(file, (8, 0.1, 0))
    file.add((8, 9.0, 0), [(1.5, 0.5), (math.nan, 0.1)], seconds=0.5, peak=77)
    table = file.open()
    assert table is not None
    assert list(table.runs) == [(8, 0.1, 0), (8, 9.0, 0)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "other"}, r"holds made with SGD\(a, b\), this is other with SGD"),
        ({"optimizer": "Adam()"}, r"this is made with Adam\(\): record into another file"),
        (
            {"length": Length(amount=2)},
            "holds runs of 3 epochs, this asks for 2 epochs: record into another file",
        ),
        ({"length": Length(amount=5)}, "holds runs of 3 epochs, this asks for 5"),
    ],
)
def test_what_does_not_belong_into_a_table_is_refused_and_nothing_lost(file, changes, said):
    _fill(file, (8, 0.1, 0), (8, 0.1, 1))
    before = file.path.read_bytes()
    with pytest.raises(ObjectiveError, match=said):
        TableFile(**{**vars(file), **changes}).open()
    assert file.path.read_bytes() == before


def test_a_file_of_something_else_is_refused_unchanged(file):
    file.path.parent.mkdir()
    for text in ("dear diary\nno table\nat all", "no newline", "task,optimizer\nmade,sgd"):
        file.path.write_text(text)
        with pytest.raises(ObjectiveError, match="does not begin like a table of training curves"):
            file.open()
        assert file.path.read_text() == text


def test_a_compressed_table_is_not_recorded_into(file):
    packed = TableFile(**{**vars(file), "path": file.path.with_suffix(".csv.gz")})
    with pytest.raises(ObjectiveError, match="recorded uncompressed"), packed.locked():
        pass


def test_a_run_that_does_not_fit_on_the_disk_leaves_whole_runs_only(tmp_path):
    with small_disk(tmp_path) as (fill, _):
        file = TableFile(
            path=tmp_path / "t.csv", task="made", optimizer="SGD", length=Length(amount=3)
        )
        _fill(file, (16, 0.1, 0))
        fill()
        added = []

        def add_many() -> None:
            for seed in range(1, 1000):
                file.add((16, 0.1, seed), CURVE, seconds=0.5, peak=77)
                added.append(seed)

        with pytest.raises(OSError, match="No space left"):
            add_many()
        assert len(read_table(file.path).runs) == len(added) + 1


def of_epochs(file: TableFile, n_train: int | None) -> TableFile:
    return TableFile(**{**vars(file), "length": Length(amount=3, n_train=n_train)})


def test_a_table_says_how_many_examples_an_epoch_has(file):
    _fill(of_epochs(file, 40), (16, 0.1, 0))
    table = read_table(file.path)
    assert table.n_train == 40
    assert tuple(accumulate(table.steps(16) or [])) == PARAMS.evaluated_after(40)
    _fill(of_epochs(file, 40), (16, 0.1, 1))
    assert len(read_table(file.path).runs) == 2


@pytest.mark.parametrize("n_train", [50, None])
def test_runs_on_other_examples_go_into_another_file(file, n_train):
    _fill(of_epochs(file, 40), (16, 0.1, 0))
    before = file.path.read_bytes()
    with pytest.raises(ObjectiveError, match="holds runs on 40 training examples, this one has"):
        of_epochs(file, n_train).open()
    assert file.path.read_bytes() == before


def test_a_table_that_was_begun_without_them_goes_on_so(file):
    _fill(of_epochs(file, None), (16, 0.1, 0))
    _fill(of_epochs(file, 40), (16, 0.1, 1))
    table = read_table(file.path)
    assert table.n_train is None
    assert table.steps(16) is None
    assert len(table.runs) == 2

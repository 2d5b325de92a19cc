"""Trainers of Lightning report to a run; the real package trains."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest

L = pytest.importorskip("lightning")

import torch  # noqa: E402

import batchfront as bf  # noqa: E402
from batchfront.objectives.measurement import (  # noqa: E402
    MetricError,
    ObjectiveError,
    TrialParams,
    Verdict,
)
from batchfront.objectives.run import Run, carry_out  # noqa: E402

pytestmark = pytest.mark.slow  # importing the package takes seconds
N, N_VAL = 96, 32


class Line(L.LightningModule):
    def __init__(self, lr=1e-3, width=4):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(1, 1)
        self.losses = []

    def training_step(self, batch, _):
        (x,) = batch
        loss = ((self.net(x) - 3 * x) ** 2).mean()
        self.losses.append(float(loss.detach()))
        return loss

    def validation_step(self, batch, _):
        (x,) = batch
        error = ((self.net(x) - 3 * x) ** 2).mean()
        self.log("val_loss", error)
        self.log("val/score", 1 / (1 + error))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


class Points(L.LightningDataModule):
    def __init__(self, batch_size=32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        self.x = torch.linspace(-1, 1, N + N_VAL).reshape(-1, 1)

    def _loader(self, x, **how):
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), **how)

    def train_dataloader(self):
        return self._loader(self.x[:N], batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return self._loader(self.x[N:], batch_size=N_VAL)


def _params(**more) -> TrialParams:
    given = {"batch_size": 8, "learning_rate": 0.1, "epochs": 3, "seed": 1, "device": "cpu"}
    return TrialParams(**{**given, **more})


def _ran(loop, params=None, **how) -> Run:
    run = Run(metric=loop.metric, **how)
    carry_out(loop, params or _params(), run)
    return run


def _loop(**more):
    return bf.lightning.objective(Line, Points, **{"metric": "val_loss", "epochs": 3, **more})


def test_steps_are_counted_and_the_metric_is_that_of_validation():
    measured = _ran(_loop()).result()
    assert measured.verdict is Verdict.COMPLETED
    assert measured.steps == measured.total_steps == 3 * N // 8
    assert len(measured.metric_curve) == 3
    assert measured.metric == measured.metric_curve[-1] < measured.metric_curve[0]
    assert measured.also == {"val_score": pytest.approx(1 / (1 + measured.metric))}
    assert 0 < measured.train_seconds < 60


@pytest.mark.parametrize("micro", [8, 4, 2])
def test_an_accumulated_step_has_the_mean_loss_of_its_batch(micro, monkeypatch):
    seen, modules = [], []
    step = Run.step
    monkeypatch.setattr(
        Run, "step", lambda s, loss, n=1: (seen.append(float(loss)), step(s, loss, n))
    )

    def module(lr):
        modules.append(Line(lr))
        return modules[-1]

    loop = bf.lightning.objective(module, Points, metric="val_loss")
    _ran(loop, _params(epochs=1, extra={"micro_batch_size": micro}))
    losses = torch.tensor(modules[0].losses).reshape(-1, 8 // micro)
    assert seen == pytest.approx(losses.mean(dim=1).tolist(), rel=1e-5)


def test_validation_stands_outside_the_clock():
    import time

    class Slow(Line):
        def validation_step(self, batch, index):
            time.sleep(0.3)
            super().validation_step(batch, index)

    loop = bf.lightning.objective(Slow, Points, metric="val_loss")
    assert _ran(loop, _params(epochs=2)).result().train_seconds < 0.3


def test_early_stopping_tells_the_time_of_the_steps_taken():
    stop = L.pytorch.callbacks.EarlyStopping("val_loss", patience=1, min_delta=1e9)
    measured = _ran(_loop(trainer={"callbacks": [stop]}), _params(epochs=9)).result()
    assert measured.verdict is Verdict.COMPLETED
    assert (measured.steps, measured.total_steps) == (2 * N // 8, 9 * N // 8)
    assert measured.missing_steps == ""


def test_a_run_that_diverges_is_stopped_inside_the_trainer():
    assert _ran(_loop(), _params(learning_rate=1e6)).result().verdict in (
        Verdict.DIVERGED,
        Verdict.NON_FINITE,
    )


def test_a_run_goes_on_from_what_lightning_kept():
    whole = _ran(_loop()).curve
    kept = []
    first = Run(metric="val_loss")
    first.keep = kept.append
    carry_out(_loop(), _params(), first)
    again = Run(metric="val_loss")
    again.restore(kept[0])
    carry_out(_loop(), _params(), again)
    assert again.curve == pytest.approx(whole, rel=1e-5)
    assert again.result().steps == 3 * N // 8


def test_our_handling_of_sigterm_stays(monkeypatch):
    heard = []
    monkeypatch.setattr(
        Line, "on_train_epoch_start", lambda self: os.kill(os.getpid(), signal.SIGTERM)
    )
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        assert _ran(_loop()).result().verdict is Verdict.COMPLETED
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1, 1, 1]


def test_nothing_is_printed_and_nothing_left(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _ran(_loop())
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metric": "val_f1"}, "the module logs val/score, val_loss, and not 'val_f1': name one"),
        ({"trainer": {"limit_val_batches": 0}}, "the trainer validates nothing"),
    ],
)
def test_what_cannot_be_studied_is_said_in_one_line(more, said):
    with pytest.raises(MetricError, match=said) as error:  # which ends a probe, and all
        _ran(_loop(**more)).result()
    assert "\n" not in str(error.value)


def test_a_module_that_takes_no_rate_is_refused():
    class Fixed(Line):
        def __init__(self):
            super().__init__()

    with pytest.raises(ObjectiveError, match="Fixed takes nothing, wanted learning_rate or lr"):
        _ran(bf.lightning.objective(Fixed, Points, metric="val_loss"))


def test_a_trainer_of_ones_own_reports():
    def objective(params, run):
        report = bf.lightning.Report(run, "val_loss")
        trainer = L.Trainer(
            max_epochs=params.epochs, callbacks=[report], logger=False, accelerator="cpu",
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        model, data = Line(params.learning_rate), Points(params.batch_size)
        trainer.fit(model, datamodule=data, ckpt_path=report.ckpt_path)

    measured = _ran(bf.CustomLoop(function=objective, metric="val_loss")).result()
    assert (measured.steps, len(measured.metric_curve)) == (36, 3)


FILE = """
    import batchfront as bf
    from tests.objectives.adapters.test_lightning import Line, Points

    objective = bf.lightning.objective(Line, Points, metric="val_loss", epochs=2)
"""


def test_a_file_of_four_lines_is_a_study(tmp_path, monkeypatch):
    from batchfront.study.cli.main import main
    from batchfront.study.opening.open import the_study

    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(textwrap.dedent(FILE))
    sizes = ["--batch-sizes", "16:32", "--learning-rates", "0.01:0.3"]
    assert main(["run", "--task", "task.py", *sizes, "--n-trials", "4"]) == 0
    study = the_study("sqlite:///runs/batchfront.db", None)
    assert study.metric_names[0] == "val_loss"
    assert study.directions[0].name == "MINIMIZE"
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 4


def test_what_lightnings_own_logger_has_written_is_imported(tmp_path, monkeypatch):
    from lightning.pytorch.loggers import CSVLogger

    from batchfront.study.cli.main import main
    from batchfront.study.opening.open import the_study

    class Noting(Line):
        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            self.log("train_loss", loss)
            return loss

    class Sized(Points):
        def __init__(self, batch_size=32):
            super().__init__(batch_size)
            self.save_hyperparameters()

    monkeypatch.chdir(tmp_path)
    for rate in (0.01, 0.1):
        trainer = L.Trainer(
            max_epochs=3, logger=CSVLogger("logs", name="mine"), accelerator="cpu",
            log_every_n_steps=2, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Noting(lr=rate), datamodule=Sized(8))
    files = [str(path) for path in sorted(Path("logs/mine").glob("version_*/metrics.csv"))]
    how = ["--metric", "val_loss", "--map", "learning_rate=lr", "--study-name", "past"]
    assert main(["import", *files, *how]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", "past").trials
    assert [t.params for t in trials] == [
        {"batch_size": 8, "learning_rate": rate} for rate in (0.01, 0.1)
    ]
    assert [len(t.user_attrs["metric_curve"]) for t in trials] == [3, 3]

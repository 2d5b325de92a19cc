"""Trainers of Transformers report to a run; the real package trains a tiny model from a config."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

hf = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

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
N, N_VAL, WORDS, LENGTH = 96, 32, 16, 8


def _texts(n: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Of class 1 are those whose first word is one of the upper half."""
    words = torch.randint(WORDS, (n, LENGTH), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": (row[0] >= WORDS // 2).long()} for row in words]


def _accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(-1) == predicted.label_ids).mean())}


def make_trainer(arguments, kind=hf.Trainer):
    config = hf.BertConfig(
        vocab_size=WORDS, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=LENGTH, num_labels=2,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return kind(
        model=hf.BertForSequenceClassification(config),
        args=arguments,
        train_dataset=_texts(N, 0),
        eval_dataset=_texts(N_VAL, 1),
        compute_metrics=_accuracy,
    )


METRIC = bf.Metric("eval_accuracy", bound=1.0, worst=0.0)


def _params(**more) -> TrialParams:
    given = {"batch_size": 16, "learning_rate": 0.01, "epochs": 3, "seed": 1, "device": "cpu"}
    return TrialParams(**{**given, **more})


def _ran(loop, params=None) -> Run:
    run = Run(metric=loop.metric)
    carry_out(loop, params or _params(), run)
    return run


def _loop(make=make_trainer, **more):
    return bf.transformers.objective(make, **{"metric": METRIC, "epochs": 3, **more})


def test_optimizer_steps_are_counted_and_each_evaluation_is_a_point():
    measured = _ran(_loop()).result()
    assert measured.verdict is Verdict.COMPLETED
    assert measured.steps == measured.total_steps == 3 * N // 16
    assert len(measured.metric_curve) == 3
    assert measured.metric > 0.7
    assert set(measured.also) == {"eval_loss"}
    assert 0 < measured.train_seconds < 60


@pytest.mark.parametrize("micro", [16, 4])
def test_each_step_has_the_mean_loss_of_all_that_it_accumulates(micro, monkeypatch):
    seen, losses = [], []
    step = Run.step

    def noted(run, loss, n=1):
        seen.append((float(loss), n))
        step(run, loss, n)

    class Noting(hf.Trainer):
        def training_step(self, *args, **more):
            loss = super().training_step(*args, **more)
            losses.append(float(loss))
            return loss

    monkeypatch.setattr(Run, "step", noted)
    loop = _loop(lambda arguments: make_trainer(arguments, Noting), arguments={"logging_steps": 50})
    _ran(loop, _params(epochs=1, extra={"micro_batch_size": micro}))
    parts = torch.tensor(losses).reshape(-1, 16 // micro)  # of one step each
    assert [n for _, n in seen] == [1] * (N // 16)
    assert [loss for loss, _ in seen] == pytest.approx(parts.mean(dim=1).tolist(), rel=1e-4)
    assert 0.3 < seen[0][0] < 1.5, "near ln 2, whatever is accumulated"


def test_a_language_model_divides_by_the_tokens_of_the_whole_step(monkeypatch):
    seen, step = [], Run.step

    def noted(run, loss, n=1):
        seen.append(float(loss))
        step(run, loss, n)

    def make(arguments):
        config = hf.GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=1, n_head=2, n_positions=LENGTH)
        texts = [{"input_ids": t["input_ids"], "labels": t["input_ids"]} for t in _texts(N, 0)]
        model = hf.GPT2LMHeadModel(config)
        return hf.Trainer(model=model, args=arguments, train_dataset=texts, eval_dataset=texts[:8])

    monkeypatch.setattr(Run, "step", noted)
    loop = _loop(make, metric=bf.Metric("eval_loss", direction="minimize"))
    for micro in (16, 4):
        _ran(loop, _params(epochs=1, learning_rate=1e-4, extra={"micro_batch_size": micro}))
    whole, parts = seen[: N // 16], seen[N // 16 :]
    assert parts == pytest.approx(whole, rel=0.05)
    assert whole[0] == pytest.approx(torch.tensor(float(WORDS)).log().item(), rel=0.2)


def test_evaluation_stands_outside_the_clock():
    import time

    class Slow(hf.Trainer):
        def evaluation_loop(self, *args, **more):
            time.sleep(0.5)
            return super().evaluation_loop(*args, **more)

    loop = _loop(lambda arguments: make_trainer(arguments, Slow))
    assert _ran(loop, _params(epochs=2)).result().train_seconds < 0.5


def test_a_run_whose_loss_is_no_number_is_stopped():
    class Lost(hf.Trainer):
        def compute_loss(self, *args, **more):
            return super().compute_loss(*args, **more) * float("nan")

    loop = _loop(lambda arguments: make_trainer(arguments, Lost))
    assert _ran(loop).result().verdict is Verdict.NON_FINITE


def test_a_run_goes_on_from_the_checkpoint_of_the_trainer():
    whole = _ran(_loop()).curve
    kept = []
    first = Run(metric=METRIC)
    first.keep = kept.append
    carry_out(_loop(), _params(), first)
    assert len(kept) == 3
    again = Run(metric=METRIC)
    again.restore(kept[0])
    carry_out(_loop(), _params(), again)
    assert again.curve == pytest.approx(whole)
    assert again.result().steps == 3 * N // 16


def test_searched_values_reach_the_arguments_and_the_maker():
    seen = []

    def make(arguments, kind_of_model):
        seen.append((arguments.weight_decay, kind_of_model, arguments.per_device_train_batch_size))
        return make_trainer(arguments)

    _ran(_loop(make), _params(epochs=1, extra={"weight_decay": 0.1, "kind_of_model": "a"}))
    assert seen == [(0.1, "a", 16)]
    with pytest.raises(ObjectiveError, match="nobody takes the searched 'wd'"):
        _ran(_loop(make), _params(extra={"wd": 0.1, "kind_of_model": "a"}))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metric": "eval_f1"}, "the trainer logs .*eval_accuracy.*, and not 'eval_f1': name one"),
        ({"arguments": {"eval_strategy": "no"}}, "the trainer evaluates nothing"),
    ],
)
def test_what_cannot_be_studied_is_said_in_one_line(more, said):
    with pytest.raises(MetricError, match=said) as error:  # which ends a probe, and all
        _ran(_loop(**more)).result()
    assert "\n" not in str(error.value)


def test_a_trainer_of_ones_own_reports(tmp_path):
    def objective(params, run):
        arguments = hf.TrainingArguments(
            str(tmp_path), use_cpu=True, per_device_train_batch_size=params.batch_size,
            learning_rate=params.learning_rate, num_train_epochs=params.epochs,
            eval_strategy="epoch", save_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = make_trainer(arguments)
        trainer.add_callback(bf.transformers.Report(run, "eval_accuracy"))
        trainer.train()
        trainer.evaluate()  # none of the run

    measured = _ran(bf.CustomLoop(function=objective, metric=METRIC)).result()
    assert (measured.steps, len(measured.metric_curve)) == (18, 3)


FILE = """
    import batchfront as bf
    from tests.objectives.adapters.test_transformers import METRIC, make_trainer

    objective = bf.transformers.objective(make_trainer, metric=METRIC, epochs=2)
"""


def test_a_file_of_four_lines_is_a_study(tmp_path, monkeypatch, capfd):
    from batchfront.study.cli.main import main
    from batchfront.study.opening.open import the_study

    monkeypatch.chdir(tmp_path)
    Path("task.py").write_text(textwrap.dedent(FILE))
    sizes = ["--batch-sizes", "16:32", "--learning-rates", "0.001:0.02"]
    assert main(["run", "--task", "task.py", *sizes, "--n-trials", "3"]) == 0
    assert capfd.readouterr().out == ""
    study = the_study("sqlite:///runs/batchfront.db", None)
    assert study.metric_names[0] == "eval_accuracy"
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 3
    assert {p.name for p in tmp_path.iterdir()} <= {"task.py", "runs", "__pycache__"}

"""The character-level language model on a text file of the user's own."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score
from torch import nn

from batchfront.objectives.load import load_objective
from batchfront.objectives.loading.examples import Tensors
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.spec import task_file, task_name
from batchfront.objectives.task import Data, Task
from batchfront.objectives.tasks.text import WINDOW, read_text, text_task, windows
from batchfront.objectives.tasks.transformer import Transformer
from batchfront.objectives.training.baseline import baseline
from tests.objectives.conftest import made_task, ready, train

PROSE = Path(__file__).resolve().parents[3] / "LICENSE"
SPLITS = ("train", "val", "test")


def written(folder: Path, text: str | bytes, name: str = "mine.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ObjectiveError) as caught:
        load_objective(f"text:{path}", device="cpu")
    return str(caught.value)


def test_windows_hold_the_text_in_its_order_and_the_next_characters():
    text = PROSE.read_text()
    vocabulary = sorted(set(text))
    data = windows(text, vocabulary)
    n = len(text)
    for split, low, high in zip(SPLITS, (0, 0.8, 0.9), (0.8, 0.9, 1), strict=True):
        part = text[round(n * low) : round(n * high)]
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        assert x.shape == y.shape == ((len(part) - 1) // WINDOW, WINDOW)
        shown, wanted = ("".join(vocabulary[i] for i in z.flatten()) for z in (x, y))
        assert part.startswith(shown)
        assert part.startswith(part[0] + wanted)  # each is the character after its own


def test_no_position_sees_what_comes_after_it():
    torch.manual_seed(0)
    model = Transformer(n_tokens=7, length=WINDOW).eval()
    x = torch.randint(7, (2, WINDOW))
    changed = x.clone()
    changed[:, 40:] = (x[:, 40:] + 1) % 7
    with torch.inference_mode():
        before, after = model(x), model(changed)  # (B, 7, T)
    torch.testing.assert_close(before[..., :40], after[..., :40])
    assert (before[..., 40:] != after[..., 40:]).any(dim=1).all()


def test_a_text_that_repeats_is_learned_to_the_last_character(tmp_path):
    path = written(tmp_path, "the same again and ever; " * 200)
    objective = load_objective(f"text:{path}", device="cpu")
    assert objective.name == objective.task.name == "text:mine.txt"
    assert str(objective.metric) == "val_accuracy"
    result = train(objective, batch_size=4, learning_rate=0.005, epochs=6).result()
    assert result.metric > 0.95
    # Predicted without running: the search cuts batch sizes by it.
    assert objective.predict_peak_bytes(4) == pytest.approx(result.peak_memory_bytes, rel=0.02)


def test_the_model_is_as_large_as_documented():
    n_parameters = sum(p.numel() for p in Transformer(n_tokens=70, length=WINDOW).parameters())
    assert n_parameters == 104_192 + 70 * 129
    documented = (PROSE.parent / "docs" / "tasks.md").read_text()
    assert "104,192 parameters and 129 for each character" in documented


def test_a_task_is_named_by_its_file_and_an_ending_is_only_an_ending(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, PROSE.read_text(), "table.csv")
    assert task_name("text:table.csv") == "text:table.csv"
    assert task_file("text:table.csv") == tmp_path / "table.csv"
    assert load_objective("text:table.csv", device="cpu").name == "text:table.csv"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "has 0 characters, wanted at least 650"),
        ("too short " * 64, "has 640 characters, wanted at least 650"),
        (b"a" * 1000, "repeats one character: nothing to learn"),
        (b"\x89PNG\r\n" + bytes(2000), "is not UTF-8 at byte 0"),
        ("Prag\xfc\xdf ".encode("latin-1") * 200, "is not UTF-8 at byte 4"),
        (("ab " * 400).encode("utf-16-le"), "holds zero bytes"),
    ],
)
def test_what_is_no_text_to_learn_from_is_refused(tmp_path, content, said):
    path = written(tmp_path, content)
    assert refusal(path).startswith(f"text '{path}' ")
    assert said in refusal(path)


def test_the_shortest_text_that_is_taken_trains(tmp_path):
    path = written(tmp_path, ("too short " * 65)[:650])
    objective = load_objective(f"text:{path}", device="cpu")
    assert objective.batch_sizes == (1, 8)
    assert train(objective, batch_size=8, epochs=1).result().steps == 1


def test_a_missing_text_and_a_folder_are_refused(tmp_path):
    assert "is not there" in refusal(tmp_path / "none.txt")
    assert "is not there" in refusal(tmp_path)


def test_a_mark_at_the_beginning_of_the_file_is_no_character(tmp_path):
    text = PROSE.read_text()
    assert read_text(written(tmp_path, b"\xef\xbb\xbf" + text.encode())) == text


def test_another_text_is_another_study(tmp_path):
    text = PROSE.read_text()
    prints = [
        load_objective(f"text:{written(tmp_path, some)}", device="cpu").fingerprint
        for some in (text, text, text.replace("MIT", "TIM"))
    ]
    assert prints[0] == prints[1]
    assert prints[0]["data"] != prints[2]["data"]


def sequences(n: int, length: int = 5) -> Data:
    """Random tokens whose next ones are themselves."""
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for split in SPLITS:
        x = torch.randint(3, (n, length), generator=generator).pow(2) % 4  # 0, 1, 0
        parts |= {f"x_{split}": x, f"y_{split}": x.clone()}
    return Data(**parts)


class PerToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T) -> (B, 3, T)
        return self.table(x).transpose(1, 2)


def of_sequences(n: int = 50) -> Task:
    return made_task(data=lambda: sequences(n), model=PerToken)


@pytest.mark.parametrize("n", [50, 2000])  # in one part, and in several
def test_the_score_of_sequences_is_that_of_all_their_positions(n):
    data, model = sequences(n), PerToken()
    found = ready(of_sequences(n)).score(model, Tensors(data.x_val, data.y_val))
    predicted = model(data.x_val).argmax(dim=1)
    assert found == accuracy_score(data.y_val.flatten(), predicted.flatten())
    assert found == pytest.approx((predicted == data.y_val).float().mean().item())


@pytest.mark.parametrize("n", [50, 2000])
def test_the_baseline_of_sequences_is_the_entropy_of_their_characters(n):
    data = sequences(n)
    loss, metric = baseline(of_sequences(n), PerToken(), data)
    shares = [count / (5 * n) for count in Counter(data.y_train.flatten().tolist()).values()]
    assert loss == pytest.approx(-sum(p * math.log(p) for p in shares), rel=1e-5)
    assert metric == pytest.approx(max(shares))


def test_a_loop_written_by_hand_trains_the_same(tmp_path):
    path = written(tmp_path, PROSE.read_text())
    task = text_task(path)
    curve = train(ready(task), batch_size=8, learning_rate=1e-3, epochs=2, seed=3).curve
    torch.manual_seed(3)
    order, model, data = torch.Generator().manual_seed(3), task.model(), task.data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    expected, waiting = [], torch.empty(0, dtype=torch.int64)
    for _ in range(2):
        waiting = torch.cat([waiting, torch.randperm(len(data.x_train), generator=order)])
        *batches, waiting = waiting.tensor_split(list(range(8, len(waiting) + 1, 8)))
        for index in batches:
            logits = (
                model(data.x_train[index]).transpose(1, 2).reshape(-1, len(set(path.read_text())))
            )
            optimizer.zero_grad()
            nn.functional.cross_entropy(logits, data.y_train[index].flatten()).backward()
            optimizer.step()
        with torch.no_grad():
            right = model(data.x_val).argmax(dim=1) == data.y_val
        expected.append(right.double().mean().item())
    assert list(curve) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    "transposed", [lambda y: y[:, :4], lambda y: y.flatten()[: len(y)], lambda y: y.float()]
)
def test_targets_that_do_not_fit_the_outputs_are_refused(transposed):
    data = sequences(50)
    parts = vars(data) | {f"y_{s}": transposed(getattr(data, f"y_{s}")) for s in SPLITS}
    with pytest.raises(ObjectiveError, match=r"or outputs \(B, classes, T\) and targets \(B, T\)"):
        ready(made_task(data=lambda: Data(**parts), model=PerToken))

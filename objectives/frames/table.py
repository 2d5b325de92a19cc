"""Tables as tensors: columns of numbers and of categories, gaps filled, split by a seed.

What is learned of the columns (medians, deviations, categories) is learned from the training split
alone, by scikit-learn's transformers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import words_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor

INSTALL = "pip install 'batchfront[frames]'"
HELD_OUT = 0.2  # of the rows, in each of the splits that are not trained on
LEAST_ROWS = 10
MOST_CLASSES = 20  # of whole numbers: more values than that are a quantity
MOST_CATEGORIES = 100  # of a column; rarer ones share a place
SHOWN = 8  # names of columns


@dataclass(frozen=True, kw_only=True)
class Table:
    """A prepared table, by the names of the fields of `Data`."""

    splits: dict[str, Tensor]
    n_inputs: int
    classes: tuple[str, ...]  # in the order of their numbers; none: a regression
    centre: float = 0.0  # of a regression's training targets,
    spread: float = 1.0  # and their deviation


def prepared(
    frame: Any, target: str, *, drop: Sequence[str], classes: bool | None, seed: int
) -> Table:
    """The splits of a pandas frame, or of a CSV file.

    `classes`: whether the target holds classes; None: found from its values.

    Raises:
        ObjectiveError: pandas is not there, or the table cannot be learned from.
    """
    import torch

    frame = _frame(frame)
    columns = [column for column in frame.columns if column != target]
    _check(frame, target, drop)
    y = frame[target]
    is_class = _is_class(y) if classes is None else classes
    names, numbers = _targets(y, target, is_class)
    rows = _split(numbers if is_class else None, len(frame), seed)
    inputs = _inputs(frame[[column for column in columns if column not in drop]], rows)
    splits: dict[str, Tensor] = {}
    for split, some in rows.items():
        splits[f"x_{split}"] = torch.from_numpy(inputs[split])
        splits[f"y_{split}"] = torch.from_numpy(numbers[some])
    known = numbers[rows["train"]]
    centre, spread = (0.0, 1.0) if is_class else (float(known.mean()), float(known.std()) or 1.0)
    return Table(
        splits=splits,
        n_inputs=splits["x_train"].shape[1],
        classes=names,
        centre=centre,
        spread=spread,
    )


def _frame(given: Any) -> pd.DataFrame:
    try:
        import pandas as pd
    except ImportError:
        raise ObjectiveError(f"tables need pandas: {INSTALL}") from None
    if isinstance(given, pd.DataFrame):
        return given
    if not isinstance(given, str | Path):
        raise ObjectiveError(
            f"from_frame got {type(given).__name__}, wanted a pandas DataFrame or a path to a CSV"
        )
    if not Path(given).is_file():
        raise ObjectiveError(f"table {str(given)!r} is not there (looked from {Path.cwd()})")
    try:
        return pd.read_csv(given)
    except (OSError, ValueError, UnicodeError) as error:  # pandas' own are ValueErrors
        raise ObjectiveError(f"table {str(given)!r} cannot be read: {words_of(error)}") from None


def _check(frame: pd.DataFrame, target: str, drop: Sequence[str]) -> None:
    """Raise ObjectiveError for what cannot be split and learned from."""
    names = [str(column) for column in frame.columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ObjectiveError(f"the table has two columns named {twice!r}: rename one of them")
    for name in (target, *drop):
        if name not in frame.columns:
            near = get_close_matches(str(name), names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            more = ", ..." if len(names) > SHOWN else ""
            raise ObjectiveError(
                f"the table has no column {name!r}: {hint}found {', '.join(names[:SHOWN])}{more}"
            )
    if len(frame) < LEAST_ROWS:
        raise ObjectiveError(f"the table has {len(frame)} rows, wanted at least {LEAST_ROWS}")
    n_missing = int(frame[target].isna().sum())
    if n_missing:
        raise ObjectiveError(
            f"the target {target!r} is missing in {n_missing} of {len(frame)} rows: drop these "
            f"rows, as in frame.dropna(subset=[{target!r}])"
        )
    inputs = [name for name in frame.columns if name != target and name not in drop]
    if not inputs:
        raise ObjectiveError(f"the table has no column to learn from beside {target!r}")
    empty = [str(name) for name in inputs if frame[name].isna().all()]
    if empty:
        raise ObjectiveError(
            f"the column {empty[0]!r} has no value at all: leave it out with drop={empty!r}"
        )


def _is_class(y: pd.Series) -> bool:
    """Whether values are names, truths, or few whole numbers."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_bool_dtype(y) or not is_numeric_dtype(y):
        return True
    return bool(y.nunique() <= MOST_CLASSES and (y == y.round()).all())


def _targets(y: pd.Series, target: str, is_class: bool) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of classes and int64 numbers of them, (N,); or no name and float32, (N, 1)."""
    import numpy as np

    if is_class:
        found, numbers = np.unique(y.astype(str).to_numpy(dtype=object), return_inverse=True)
        if len(found) < 2:
            raise ObjectiveError(f"the target {target!r} is {found[0]!r} in every row")
        return tuple(map(str, found)), numbers.reshape(-1).astype(np.int64)
    try:
        values = y.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ObjectiveError(
            f"the target {target!r} is no number in every row ({words_of(error)}): clean it, or "
            "leave classes=False out"
        ) from None
    return (), values.astype(np.float32)[:, None]


def _split(classes: np.ndarray | None, n: int, seed: int) -> dict[str, np.ndarray]:
    """Row numbers of each split; every class gets its share of each, where it has rows enough."""
    import numpy as np
    from sklearn.model_selection import train_test_split

    n_held_out = max(1, int(HELD_OUT * n))
    even = classes is not None and np.bincount(classes).min() >= 3 / HELD_OUT
    rest, test = train_test_split(
        np.arange(n), test_size=n_held_out, random_state=seed, stratify=classes if even else None
    )
    kept = classes[rest] if classes is not None and even else None
    train, val = train_test_split(rest, test_size=n_held_out, random_state=seed, stratify=kept)
    return {"train": train, "val": val, "test": test}


def _inputs(frame: pd.DataFrame, rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(N, n_inputs) float32 of each split, by what is learned of the training rows."""
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    plain, numeric = _plain(frame)
    named = [name for name in plain.columns if name not in numeric]
    one_hot = OneHotEncoder(
        handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False
    )
    gaps = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    known = ColumnTransformer(
        [
            ("numbers", make_pipeline(gaps, StandardScaler()), numeric),
            ("categories", one_hot, named),
        ]
    )
    try:
        known.fit(plain.iloc[rows["train"]])
        return {
            split: np.ascontiguousarray(known.transform(plain.iloc[some]), dtype=np.float32)
            for split, some in rows.items()
        }
    except ValueError as error:  # infinite numbers, say
        raise ObjectiveError(f"the table cannot be prepared: {words_of(error)}") from None


def _plain(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Columns of floats, NaN where a value is missing, and of text; the names of the former."""
    import numpy as np
    import pandas as pd
    from pandas.api.types import is_bool_dtype, is_complex_dtype, is_numeric_dtype

    found: dict[str, Any] = {}
    numeric = []
    for name, column in frame.items():
        if is_complex_dtype(column) or column.dtype.kind in "mM":
            raise ObjectiveError(
                f"the column {name!r} holds {column.dtype}, wanted numbers or categories: turn it "
                f"into some, or leave it out with drop=[{name!r}]"
            )
        key = str(name)
        if is_numeric_dtype(column) or is_bool_dtype(column):
            found[key] = column.to_numpy(dtype=np.float64, na_value=np.nan)
            numeric.append(key)
        else:  # a gap is a category of its own
            gaps = column.isna().to_numpy()
            found[key] = np.where(gaps, "missing", column.astype(str).to_numpy(dtype=object))
    return pd.DataFrame(found), numeric

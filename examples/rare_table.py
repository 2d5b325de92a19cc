"""A table with 5% positives, by the area under the ROC curve.

make study TASK=examples/rare_table.py
"""

import numpy as np
import pandas as pd

from batchfront import Task

draw = np.random.default_rng(0)
n = 4000
frame = pd.DataFrame(
    {
        "age": draw.normal(50, 12, n),
        "dose": np.where(draw.random(n) < 0.1, np.nan, draw.exponential(2.0, n)),  # gaps
        "clinic": draw.choice(["north", "south", "west"], n),
    }
)
risk = 0.06 * (frame["age"] - 50) + 0.5 * frame["dose"].fillna(2) + (frame["clinic"] == "west")
frame["ill"] = np.where(risk + draw.normal(0, 0.7, n) > 3.8, "yes", "no")  # 5% yes

task = Task.from_frame(frame, target="ill", metric="auc", epochs=10)

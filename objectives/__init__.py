"""Measures: trains one model once and says what happened. Knows neither Optuna nor storage."""

if __name__ != "batchfront.objectives":  # a second copy, with classes that the first does not know
    raise ImportError("import from batchfront: `from batchfront import Task`", name=__name__)

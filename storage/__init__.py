"""Keeps studies. Knows neither torch nor objectives."""

if __name__ != "batchfront.storage":  # a second copy, with classes that the first does not know
    raise ImportError("import from batchfront: `from batchfront import Task`", name=__name__)

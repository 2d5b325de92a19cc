"""Small matrices are computed in one thread."""

from __future__ import annotations

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from threadpoolctl import threadpool_info, threadpool_limits

from batchfront.study.search.surface import Surface, fit_shape


def _threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_a_surface_is_fitted_and_asked_in_one_thread_and_whoever_asks_keeps_theirs(monkeypatch):
    seen = []

    def seeing(name: str):
        method = getattr(GaussianProcessRegressor, name)

        def call(self, *args, **kwargs):
            seen.append((name, _threads()))
            return method(self, *args, **kwargs)

        return call

    methods = ("fit", "log_marginal_likelihood", "predict", "sample_y")
    for name in methods:
        monkeypatch.setattr(GaussianProcessRegressor, name, seeing(name))
    x = np.random.default_rng(0).uniform(size=(20, 2))
    y, noise = x[:, 0] - x[:, 1], np.zeros(20)
    with threadpool_limits(2, "blas"):
        assert _threads() == {2}
        surface = Surface(x, y, noise, fit_shape(x, y, noise))
        surface.mean(x)
        surface.guess(x)
        surface.draws(x, 3, seed=0)
        assert _threads() == {2}
    assert {name for name, _ in seen} == set(methods)
    assert all(threads == {1} for _, threads in seen)

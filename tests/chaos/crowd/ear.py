"""Hears the signs of life of all workers, as the storage tells them: how long was each silent?"""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

from batchfront.storage.open import open_storage
from batchfront.storage.patience import impatient
from batchfront.study.trials.attributes import OWNER, id_of
from batchfront.study.workers.retry import BEAT

LISTEN_SECONDS = 0.5
Signs = Mapping[tuple[int, int], Hashable]  # by process and trial


@dataclass
class Silences:
    """Silences between two looks; each may have been shorter by a look at either end."""

    at_least: float
    found: list[tuple[int, float, float]] = field(default_factory=list)  # whose, from, to
    _before: float = 0.0  # the last look
    _heard: dict[tuple[int, int], tuple[Hashable, float]] = field(default_factory=dict)

    def look(self, at: float, signs: Signs) -> None:
        """Take what every running trial shows now."""
        for key, (sign, since) in list(self._heard.items()):
            if signs.get(key) != sign:
                del self._heard[key]
                if at - since >= self.at_least:
                    self.found.append((key[0], since, at))
        for key, sign in signs.items():
            self._heard.setdefault(key, (sign, self._before or at))
        self._before = at


class Ear:
    """Listens in a thread of its own, from entering to leaving."""

    def __init__(self, url: str, study_name: str, silences: Silences) -> None:
        self._url = url
        self._study_name = study_name
        self._silences = silences
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10)

    def _listen(self) -> None:
        while not self._ended.is_set():
            with suppress(Exception), impatient():  # restarted, replaced, deleted: opened anew
                self._follow()
            self._ended.wait(LISTEN_SECONDS)

    def _follow(self) -> None:
        storage = open_storage(self._url, mode="reader")
        study = optuna.load_study(study_name=self._study_name, storage=storage)
        while not self._ended.wait(LISTEN_SECONDS):
            at = time.time()
            heartbeats = storage.get_heartbeats(study._study_id)
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            self._silences.look(
                at,
                {
                    (trial.user_attrs[OWNER]["pid"], trial.number): (
                        heartbeats.get(id_of(trial)),
                        trial.system_attrs.get(BEAT),
                    )
                    for trial in running
                    if OWNER in trial.user_attrs
                },
            )

"""A short storm over commands as people type them; `make chaos` has all of them."""

from __future__ import annotations

import pytest

from tests.chaos.crowd.crowd import Gale
from tests.chaos.crowd.ear import Silences
from tests.chaos.crowd.scenarios import commands_raging


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_commands_that_are_killed_and_signalled_lose_nothing():
    deck = {"kill -9 of a command": 1, "SIGTERM": 1}
    damage = commands_raging(
        "sqlite", Gale(teams=(1,), n_trials=6, deck=deck, every_seconds=0.5, limit_seconds=500)
    )
    assert damage.wrong == []
    assert damage.faults == deck
    assert damage.counts["finished"] == 6
    assert damage.counts["results told"] >= 1
    assert damage.counts["queued again"] >= 1


def test_silences_are_heard_from_one_look_to_the_next():
    heard = Silences(at_least=2.5)
    for at, signs in enumerate(
        [{1: "a", 2: "a"}, {1: "b", 2: "a"}, {1: "c", 2: "a"}, {2: "b"}], 10
    ):
        heard.look(float(at), {(pid, 0): sign for pid, sign in signs.items()})
    assert heard.found == [(2, 10.0, 13.0)]
    heard.look(14.0, {})  # it has ended, or was taken
    assert heard.found[1:] == []
    heard.look(15.0, {(3, 1): "a"})
    heard.look(17.0, {(3, 2): "a"})
    assert heard.found[1:] == [(3, 14.0, 17.0)]

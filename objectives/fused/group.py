"""Trains the members of a group, step by step together, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from batchfront.objectives.fused.member import Member
from batchfront.objectives.fused.noise import generator_at
from batchfront.objectives.fused.numbers import rows
from batchfront.objectives.fused.places import Places
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.setting import Setting
from batchfront.objectives.fused.traces import Traces
from batchfront.objectives.measurement import Stopped
from batchfront.objectives.raised import Halted

if TYPE_CHECKING:
    import torch

LEAST = 2  # places: a step of one model rounds otherwise
MOST_STEPS = 256  # that are taken before losses are looked at
READY = 2.5  # times as long as tracing a step takes: its comparison and its slow first calls, too
MOST_NUMBERS = 1 << 21  # that one gather of examples may take, 8 MB


class Group:
    """Runs that have begun; they leave one by one, and the places of those that left are closed."""

    def __init__(self, members: Sequence[Member], setting: Setting, traces: Traces) -> None:
        self._feed = setting.feed
        self._setting, self._traces = setting, traces
        self.members = list(members)  # in their places
        self._step = traces.step_for(setting, max(LEAST, len(members)))
        self._places = Places(setting.shape, self._step.width, members[0].begun.model)
        for place in range(self._step.width):
            member = members[place % len(members)]
            self._places.put(place, member.begun.model, member.optimizer)
        self._alive = list(range(len(members)))  # places of those that still train
        self._nobodys = generator_at(members[0].generator.get_state())
        self._step_seconds = 0.0  # of the last steps, on the CPU
        self.failed: dict[int, BaseException] = {}
        """What members raised, other than that they were stopped; by `id`, as places change."""

    def train(self) -> None:
        """Train until all have ended."""
        while self._alive:
            n = self._n_steps()
            losses = self._timed(n)
            self._each(partial(self._tell, losses))
            self._each(self._end_epoch)
            self._compact()

    def _n_steps(self) -> int:
        """Steps until somebody has to be looked at."""
        example = self._places.width * self._setting.batch_size * self._feed.numbers_each
        most = max(1, min(MOST_STEPS, MOST_NUMBERS // example))
        return min(most, *(member.left for member in self._training()))

    def _timed(self, n: int) -> list[list[float]]:
        """Losses of the next steps by place; each that trains gets its share of the time."""
        wall, cpu = time.perf_counter(), time.process_time()
        losses = self._steps(n)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self._step_seconds = cpu / n
        for place in self._alive:
            self.members[place].clock.passed(wall / len(self._alive), cpu / len(self._alive))
        return losses

    def _steps(self, n: int) -> list[list[float]]:
        import torch

        stand = self._standing()
        x, y = self._feed.gathered(torch.stack([m.examples(n) for m in stand], dim=1))
        read = {id(m): m.read(n, self._setting.shape) for m in self._training()}
        numbers = rows(
            self._setting.shape, [read[id(m)] for m in stand], [m.steps for m in stand]
        ).to(self._places.tensors[0])
        tensors, losses = self._places.tensors, []
        step, generators = self._step.take, self._generators()
        with torch.no_grad():
            for row, x_k, y_k in zip(numbers.unbind(), x.unbind(), y.unbind(), strict=True):
                losses.append(step(tensors, row, x_k, y_k, generators))
            found: list[list[float]] = torch.stack(losses, dim=1).tolist()
        return found

    def _training(self) -> list[Member]:
        return [self.members[place] for place in self._alive]

    def _standing(self) -> list[Member]:
        """Whose examples each place takes: those that nobody needs take somebody's."""
        first = self.members[self._alive[0]]
        alive = set(self._alive)
        places = range(self._places.width)
        return [self.members[place] if place in alive else first for place in places]

    def _generators(self) -> list[torch.Generator]:
        """Whose random numbers each place draws: those that nobody needs draw nobody's."""
        alive, places = set(self._alive), range(self._places.width)
        return [self.members[n].generator if n in alive else self._nobodys for n in places]

    def _tell(self, losses: list[list[float]], place: int) -> None:
        self.members[place].told(losses[place])

    def _end_epoch(self, place: int) -> None:
        member = self.members[place]
        if member.left == 0:
            member.end_epoch(place, self._places)

    def _each(self, act: Callable[[int], None]) -> None:
        """Do it for all that train; whoever is done, stopped or failed leaves."""
        for place in list(self._alive):
            try:
                act(place)
                leaves = self.members[place].is_done
            except Stopped as stopped:
                run = self.members[place].run
                run.latched, leaves = run.latched or stopped, True
            except (Halted, KeyboardInterrupt, SystemExit) as error:
                if error is not self.members[place].run.leaving:
                    raise
                self.failed[id(self.members[place])], leaves = error, True
            except BaseException as error:  # user code may raise anything
                if self.members[place].run.latched is None:
                    self.failed[id(self.members[place])] = error
                leaves = True
            if leaves:
                self._alive.remove(place)

    def _compact(self) -> None:
        """Close the places of those that left, where a narrower step is there or pays."""
        width = self._narrower()
        if width is None:
            return
        try:
            step = self._traces.step(self._setting, width)
        except Refused:  # which the wider one was not
            return
        self._step = step
        self._places.only(self._alive, width)
        self.members = [self.members[place] for place in self._alive]
        self._alive = list(range(len(self.members)))

    def _narrower(self) -> int | None:
        n, now = len(self._alive), self._step.width
        needed = max(LEAST, n)
        if n == 0 or needed >= now:
            return None
        there = [width for width in self._traces.widths(self._setting) if needed <= width < now]
        if there and there[0] < 2 * needed:
            return there[0]
        steps = max(member.left_in_all for member in self._training())
        saved = steps * self._step_seconds * (1 - needed / now) / 2
        return needed if saved > READY * self._step.seconds else (there[0] if there else None)

"""The search space: batch size and learning rate, searched jointly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.number import RATE
from batchfront.objectives.parameter import Parameter
from batchfront.study.errors import StudyError
from batchfront.study.plan.sizes import RANGE, SIZES, ends, powers_of_two, said_sizes, span_of
from batchfront.study.trials.attributes import BATCH_SIZE, LOG2_BATCH_SIZE, SCALED, batch_size_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

RATES_PER_DECADE = 2  # of the sampler grid
SCALE_RULES = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}  # powers of the batch size
SCALE_REFERENCE = 64


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What makes a learning rate of the searched one, the base rate at a reference batch size."""

    rule: str = "none"  # of SCALE_RULES
    reference: int = SCALE_REFERENCE

    def factor(self, batch_size: int) -> float:
        """(B / reference) ** power."""
        return float((batch_size / self.reference) ** SCALE_RULES[self.rule])


UNSCALED = Scale()


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The range of learning rates includes its ends."""

    batch_sizes: tuple[int, ...] = powers_of_two(1, 512)  # all of them, ascending
    learning_rates: tuple[float, float] = (1e-4, 3.0)
    search: Mapping[str, Parameter] = field(default_factory=dict)  # the task's own parameters
    scale: Scale = UNSCALED
    exponents: bool = False
    """Whether trials hold the logarithm of the batch size, as in studies up to format 3."""

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples from.

        The batch size is an integer: a categorical one would hide from samplers that 24 lies
        between 16 and 48, and Optuna would refuse any later change of its choices. Whoever draws
        it draws one of `batch_sizes`.
        """
        from optuna.distributions import FloatDistribution

        more = {name: _distribution(parameter) for name, parameter in self.search.items()}
        return {
            **self._size_distribution(),
            "learning_rate": FloatDistribution(*self.learning_rates, log=True),
            **more,
        }

    def _size_distribution(self) -> dict[str, BaseDistribution]:
        from optuna.distributions import IntDistribution

        low, high = self.batch_sizes[0], self.batch_sizes[-1]
        if self.exponents:
            return {LOG2_BATCH_SIZE: IntDistribution(low.bit_length() - 1, high.bit_length() - 1)}
        return {BATCH_SIZE: IntDistribution(low, high, log=True)}

    def size_param(self, size: int) -> dict[str, int]:
        """A batch size as trials hold it."""
        return {LOG2_BATCH_SIZE: size.bit_length() - 1} if self.exponents else {BATCH_SIZE: size}

    def asked(self, size: int, rate: float) -> dict[str, Any]:
        """A batch size and the learning rate to train with, as trials hold them."""
        return {**self.size_param(size), "learning_rate": rate / self.scale.factor(size)}

    def scaled(self, rate: float) -> dict[str, float]:
        """The attribute of a trial that is asked for: repeated runs share the rate to the bit."""
        return {SCALED: rate} if self.scales else {}

    def holding(self, params: Mapping[str, Any]) -> SearchSpace:
        """Wide enough for a learning rate that was queued: tuning may leave the range."""
        low, high = self.learning_rates
        rate = params.get("learning_rate", low)
        return replace(self, learning_rates=(min(low, rate), max(high, rate)))

    @property
    def scales(self) -> bool:
        """Whether `learning_rates` are base rates."""
        return self.scale.rule != "none"

    def rate(self, params: Mapping[str, Any]) -> float:
        """The learning rate to train with."""
        return float(params["learning_rate"] * self.scale.factor(batch_size_of(params)))

    def grid(self) -> dict[str, list[Any]]:
        """Every batch size with learning rates at most half a decade apart."""
        (name,) = self._size_distribution()
        low, high = self.learning_rates
        n_rates = 1 + math.ceil(RATES_PER_DECADE * math.log10(high / low) - 1e-9)
        ratio = (high / low) ** (1 / max(n_rates - 1, 1))
        rates = [low * ratio**n for n in range(n_rates)]
        return {
            name: [self.size_param(size)[name] for size in self.batch_sizes],
            "learning_rate": [min(max(rate, low), high) for rate in rates],
            **{name: _grid_values(parameter) for name, parameter in self.search.items()},
        }

    def cut_to(self, limits: tuple[int, int | None]) -> SearchSpace:
        """The same space without batch sizes an objective cannot train with; None: no upper limit.

        Raises:
            StudyError: nothing is left.
        """
        least, most = limits
        sizes = [b for b in self.batch_sizes if b >= least and (most is None or b <= most)]
        if not sizes:
            allowed = f"at least {least}" if self.batch_sizes[0] < least else f"at most {most}"
            raise StudyError(
                f"batch sizes {span_of(self.batch_sizes)} do not fit the data of the task: "
                f"wanted {allowed}"
            )
        return replace(self, batch_sizes=tuple(sizes))

    def own(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The task's own parameters among a trial's params, by name."""
        return {name: params[name] for name in self.search}

    def is_probed(self, params: Mapping[str, Any]) -> bool:
        """Whether a trial costs what its batch size was probed to cost."""
        return all(
            params[name] == parameter.probed
            for name, parameter in self.search.items()
            if parameter.bears_cost
        )

    @property
    def bears_cost(self) -> bool:
        """Whether time or memory depend on more than the batch size."""
        return any(parameter.bears_cost for parameter in self.search.values())

    def as_dict(self) -> dict[str, Any]:
        """The space as it is stored with the study."""
        sizes = self.batch_sizes
        stored: dict[str, Any] = {
            **({RANGE: [sizes[0], sizes[-1]]} if self.exponents else {SIZES: list(sizes)}),
            "learning_rates": list(self.learning_rates),
        }
        if self.search:
            stored["search"] = {name: value.as_dict() for name, value in self.search.items()}
        if self.scales:
            stored["scale"] = asdict(self.scale)
        return stored

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> SearchSpace:
        """The space that `as_dict` returned."""
        search = stored.get("search", {})
        exponents = SIZES not in stored
        return SearchSpace(
            batch_sizes=powers_of_two(*stored[RANGE]) if exponents else tuple(stored[SIZES]),
            exponents=exponents,
            learning_rates=tuple(stored["learning_rates"]),
            search={name: Parameter.from_dict(value) for name, value in search.items()},
            scale=Scale(**stored.get("scale", {})),
        )

    def __str__(self) -> str:
        slow, fast = self.learning_rates
        rate = "base learning rate" if self.scales else "learning rate"
        known = f"batch size {said_sizes(self.batch_sizes)} x {rate} {slow:g}..{fast:g} (log)"
        if self.scales:
            power = f"{SCALE_RULES[self.scale.rule]:g}"
            known += f", times (batch size / {self.scale.reference})^{power}"
        return " x ".join([known, *(_said(name, value) for name, value in self.search.items())])


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter.low, int) and isinstance(parameter.high, int):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log)
    return FloatDistribution(
        float(parameter.low or 0.0), float(parameter.high or 0.0), log=parameter.log
    )


def _grid_values(parameter: Parameter) -> list[Any]:
    """Every choice, or both ends of a range and its middle."""
    if parameter.choices:
        return list(parameter.choices)
    return sorted({parameter.value(share) for share in (0.0, 0.5, 1.0)})


def _said(name: str, parameter: Parameter) -> str:
    if parameter.choices:
        return f"{name} {', '.join(map(str, parameter.choices))}"
    log = " (log)" if parameter.log else ""
    return f"{name} {parameter.low:g}..{parameter.high:g}{log}"


def parse_learning_rates(text: str) -> tuple[float, float]:
    """`1e-4:3`, or `0.1` for one rate.

    Raises:
        StudyError: not numbers, out of range, or reversed.
    """
    low, high = ends("learning_rates", text, float)
    if not (RATE.holds(low) and RATE.holds(high)):
        raise StudyError(
            f"learning_rates is {text!r}, wanted finite rates above 0, from {RATE.low:g} to "
            f"{RATE.high:g}"
        )
    return low, high

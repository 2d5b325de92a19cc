"""The search space: batch size and learning rate, searched jointly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from batchfront.objectives.parameter import Parameter
from batchfront.study.errors import StudyError
from batchfront.study.trials.attributes import batch_size_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.distributions import BaseDistribution

RATES_PER_DECADE = 2  # of the sampler grid
Number = TypeVar("Number", int, float)
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
    """Both ranges include their ends."""

    batch_sizes: tuple[int, int] = (1, 512)  # powers of two
    learning_rates: tuple[float, float] = (1e-4, 3.0)
    search: Mapping[str, Parameter] = field(default_factory=dict)  # the task's own parameters
    scale: Scale = UNSCALED

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna samples from.

        The batch size is an integer exponent: a categorical one would hide from samplers that 8
        lies between 4 and 16, and Optuna would refuse any later change of its choices.
        """
        from optuna.distributions import FloatDistribution, IntDistribution

        more = {name: _distribution(parameter) for name, parameter in self.search.items()}

        low, high = (size.bit_length() - 1 for size in self.batch_sizes)
        return {
            "log2_batch_size": IntDistribution(low, high),
            "learning_rate": FloatDistribution(*self.learning_rates, log=True),
            **more,
        }

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

    def sizes(self) -> list[int]:
        """All batch sizes, ascending."""
        low, high = (size.bit_length() - 1 for size in self.batch_sizes)
        return [2**exponent for exponent in range(low, high + 1)]

    def grid(self) -> dict[str, list[Any]]:
        """Every batch size with learning rates at most half a decade apart."""
        low, high = self.learning_rates
        n_rates = 1 + math.ceil(RATES_PER_DECADE * math.log10(high / low) - 1e-9)
        ratio = (high / low) ** (1 / max(n_rates - 1, 1))
        rates = [low * ratio**n for n in range(n_rates)]
        return {
            "log2_batch_size": [size.bit_length() - 1 for size in self.sizes()],
            "learning_rate": [min(max(rate, low), high) for rate in rates],
            **{name: _grid_values(parameter) for name, parameter in self.search.items()},
        }

    def cut_to(self, limits: tuple[int, int | None]) -> SearchSpace:
        """The same space without batch sizes an objective cannot train with; None: no upper limit.

        Raises:
            StudyError: nothing is left.
        """
        (low, high), (least, most) = self.batch_sizes, limits
        sizes = [b for b in self.sizes() if b >= least and (most is None or b <= most)]
        if not sizes:
            allowed = f"at least {least}" if low < least else f"at most {most}"
            raise StudyError(
                f"batch sizes {low}:{high} do not fit the data of the task: wanted {allowed}"
            )
        return replace(self, batch_sizes=(sizes[0], sizes[-1]))

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
        stored: dict[str, Any] = {
            "batch_sizes": list(self.batch_sizes),
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
        return SearchSpace(
            batch_sizes=tuple(stored["batch_sizes"]),
            learning_rates=tuple(stored["learning_rates"]),
            search={name: Parameter.from_dict(value) for name, value in search.items()},
            scale=Scale(**stored.get("scale", {})),
        )

    def __str__(self) -> str:
        (low, high), (slow, fast) = self.batch_sizes, self.learning_rates
        rate = "base learning rate" if self.scales else "learning rate"
        known = f"batch size {low}..{high} (powers of two) x {rate} {slow:g}..{fast:g} (log)"
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


def parse_batch_sizes(text: str, what: str = "batch_sizes") -> tuple[int, int]:
    """`8:64`, or `8` for one size.

    Raises:
        StudyError: not whole numbers, below 1, reversed, or not powers of two.
    """
    low, high = _ends(what, text, int)
    if low < 1:
        raise StudyError(f"{what} is {text!r}, wanted sizes of at least 1")
    for size in (low, high):
        if size & (size - 1):
            near = 2 ** round(math.log2(size))
            raise StudyError(f"{what} is {text!r}, wanted powers of two: {near} is near {size}")
    return low, high


def parse_learning_rates(text: str) -> tuple[float, float]:
    """`1e-4:3`, or `0.1` for one rate.

    Raises:
        StudyError: not numbers, not above 0, infinite, or reversed.
    """
    low, high = _ends("learning_rates", text, float)
    if not (low > 0 and math.isfinite(high)):
        raise StudyError(f"learning_rates is {text!r}, wanted finite rates above 0")
    return low, high


def _ends(what: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, Number]:
    parts = text.split(":")
    try:
        numbers = [kind(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise StudyError(f"{what} is {text!r}, wanted LOW:HIGH")
    low, high = numbers[0], numbers[-1]
    if not low <= high:
        raise StudyError(f"{what} is {text!r}, wanted LOW:HIGH with LOW at most HIGH")
    return low, high

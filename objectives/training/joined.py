"""A model together with what is to be done with a batch of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from batchfront.objectives.loading.tree import plain


class Joined(nn.Module):
    """Gives what `function(model, batch)` gives; as a module, so that ranks can share its gradients
    whatever the function calls."""

    def __init__(self, model: nn.Module, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.of_user = model
        self._function = function

    def forward(self, batch: Any) -> Any:
        """The loss, or output and target, of a batch."""
        return self._function(self.of_user, plain(batch))

"""Notices when a loop reports fewer optimizer steps than it has announced."""

from __future__ import annotations

from batchfront.objectives.length import Length

MOST = 0.9  # of those announced: with fewer than that, some are not reported


class MissingSteps:
    """The watch on one run's steps: whether all that it announced are reported."""

    def __init__(self) -> None:
        self.said = ""  # what there is to say of them; "" while none are missing

    def look(self, taken: int, *, announced: int, n_done: int, length: Length) -> None:
        """Compare the steps taken in `n_done` of the epochs with what was announced for them.

        By more than one, as epochs of whole batches may differ by that.
        """
        expected = announced * n_done / length.points
        if self.said or taken + 1 >= MOST * expected:
            return
        self.said = (
            f"after {length.point} {n_done} of {length.points} the loop had reported {taken} "
            f"training steps and announced {expected:.0f}: the divergence guard is blind to the "
            "others, and time is that of the run's own clock; call run.step(loss) after each "
            "optimizer step, or run.step(mean_loss, n=10) after every tenth; a function written "
            "for Optuna trains with optimizers of torch's, and as many epochs at every batch size"
        )

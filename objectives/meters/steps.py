"""Counts the optimizer steps that a loop reports, against those it has announced."""

from __future__ import annotations

MOST = 0.9  # of those announced: with fewer than that, some are not reported


class Steps:
    """Of one run."""

    def __init__(self) -> None:
        self.taken = 0
        self.missing = ""  # what there is to say of steps that nobody reported

    def look(self, *, announced: int, n_done: int, n_epochs: int) -> None:
        """After `n_done` of the epochs: fewer than were announced for them are not all there are.

        By more than one, as epochs of whole batches may differ by that.
        """
        expected = announced * n_done / n_epochs
        if self.missing or self.taken + 1 >= MOST * expected:
            return
        self.missing = (
            f"after epoch {n_done} of {n_epochs} the loop had reported {self.taken} training steps "
            f"and announced {expected:.0f}: the divergence guard is blind to the others, and time "
            "is that of the run's own clock; call run.step(loss) after each optimizer step, or "
            "run.step(mean_loss, n=10) after every tenth"
        )

    def share(self, *, announced: int, n_done: int, n_epochs: int | None) -> float:
        """Of the run that is done, by steps; by epochs where steps are not reported."""
        return n_done / (n_epochs or 1) if self.missing else self.taken / announced

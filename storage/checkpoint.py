"""Checkpoints of trials: one file each, replaced as a whole, in a folder that workers share."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchfront.storage.errors import StorageError

FORMAT = 1


class Checkpoint:
    """Of one trial, and of the trials that take it up when its worker has died."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """`identity`: plain values that name the run; what differs in any is another checkpoint."""
        text = json.dumps(identity, sort_keys=True)
        # A hash, since names of studies may hold anything, slashes too.
        self._name = hashlib.sha256(text.encode()).hexdigest()[:40]
        self._folder = folder

    @property
    def path(self) -> Path:
        """The path at which the checkpoint lies, or would."""
        return self._folder / f"{self._name}.pt"

    def save(self, state: Mapping[str, Any]) -> None:
        """Write aside, flush to the disk, rename: a crash leaves the old file or the new one.

        Raises:
            OSError: it cannot be written; an earlier one is still there.
        """
        import torch

        aside = self._folder / f"{self._name}.{os.getpid()}.new"
        try:
            with open(aside, "wb") as file:
                torch.save({"format": FORMAT, "name": self._name, "state": dict(state)}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, self.path)
        except RuntimeError as error:  # how torch's writer says that the disk is full
            raise OSError((str(error).splitlines() or ["not written"])[0]) from error
        finally:
            aside.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """What was saved last, on the CPU; None when there is nothing that can be used.

        A file that is damaged, or another run's, is put aside with a warning.
        """
        if not self.path.exists():
            return None
        import torch

        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            if (found["format"], found["name"]) == (FORMAT, self._name):
                return dict(found["state"])
            why = "it belongs to another run or version"
        except Exception as error:  # what a damaged file makes torch raise has no common type
            why = (str(error).splitlines() or [type(error).__name__])[0][:200]
        self._put_aside(why)
        return None

    def remove(self) -> None:
        """Nothing of the run stays; also what writers that were killed left unfinished."""
        for path in self._folder.glob(f"{self._name}.*"):
            if not path.name.endswith(".bad"):
                path.unlink(missing_ok=True)

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_suffix(".bad")
        try:
            os.replace(self.path, aside)
        except OSError as error:
            why += f"; and it cannot be renamed: {error.strerror}"
        warnings.warn(
            f"checkpoint {aside} cannot be used ({why}): the trial starts over", stacklevel=2
        )


def checkpoint_folder(path: Path) -> Path:
    """Make the folder when it is missing; only its owner may look inside.

    Raises:
        StorageError: it cannot be made or written to.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot create the checkpoint folder {path}: {error.strerror}; choose another "
            "--checkpoint-dir, or none"
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StorageError(
            f"the checkpoint folder {path} is not writable: choose another --checkpoint-dir, or "
            "none"
        )
    return path

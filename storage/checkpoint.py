"""Checkpoints of trials: one file each, replaced as a whole, in a folder that workers share."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchfront.storage.errors import StorageError
from batchfront.storage.files import nearest, open_own, replacing
from batchfront.storage.plain import itself, plain

FORMAT = 1


class Checkpoint:
    """The checkpoint of one trial, and of those that take it up when its worker has died."""

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
            NotPlain: there is something in it that could not be loaded.
            OSError: it cannot be written; an earlier one is still there.
        """
        import torch

        kept = {"format": FORMAT, "name": self._name, "state": plain(dict(state))}
        try:
            with replacing(self.path) as file:
                torch.save(kept, file)
        except RuntimeError as error:  # how torch's writer says that the disk is full
            raise OSError((str(error).splitlines() or ["not written"])[0]) from error

    def load(self) -> dict[str, Any] | None:
        """What was saved last, on the CPU; None when there is nothing that can be used.

        What is damaged, another run's, or no file of ours is put aside with a warning.
        """
        try:
            with open_own(self.path) as file:
                import torch  # only now: a table is played back without

                found = torch.load(file, map_location="cpu", weights_only=True)
            if not isinstance(found, dict) or not isinstance(found.get("state"), dict):
                why = "it holds no state of a run"
            elif (found.get("format"), found.get("name")) == (FORMAT, self._name):
                return dict(itself(found["state"]))
            else:
                why = "it belongs to another run or version"
        except FileNotFoundError:
            return None
        except Exception as error:  # what a damaged file makes torch raise has no common type
            why = _said(error)
        self.put_aside(why)
        return None

    def remove(self) -> None:
        """Nothing of the run stays; also what writers that were killed left unfinished."""
        for path in self._folder.glob(f"{self._name}.*"):
            if not path.name.endswith(".bad"):
                with suppress(OSError):  # a folder of that name, or somebody else's file
                    path.unlink()

    def tidy(self) -> None:
        """Remove what writers that were killed left unfinished, where nobody writes any more."""
        for path in self._folder.glob(f"{self._name}.*"):
            if path != self.path and not path.name.endswith(".bad"):
                with suppress(OSError):
                    path.unlink()

    def put_aside(self, why: str) -> None:
        """Keep a file that cannot be used under another name, and warn that the run starts anew."""
        aside = self.path.with_suffix(".bad")
        try:
            os.replace(self.path, aside)  # a link or a pipe itself: nothing is followed
        except OSError as error:
            why += f"; and it cannot be renamed: {error.strerror}"
        warnings.warn(
            f"checkpoint {aside} cannot be used ({why}): the trial starts over", stacklevel=2
        )


def _said(error: Exception) -> str:
    """The first line of what an error says."""
    words = getattr(error, "strerror", None) or str(error)
    return (words.splitlines() or [type(error).__name__])[0][:200]


def check_checkpoint_folder(path: Path) -> None:
    """Raise StorageError where `checkpoint_folder` would; nothing is made."""
    there = nearest(path)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise StorageError(
            f"there can be no checkpoint folder {path}: {there} is no folder that can be written "
            "to; choose another --checkpoint-dir, or none"
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
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        warnings.warn(
            f"any user may write into the checkpoint folder {path}, and so delete what is kept "
            f"there: chmod o-w {path}",
            stacklevel=2,
        )
    return path

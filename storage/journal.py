"""A log file on a file system that several machines share, NFS too."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.storages.journal._storage import JournalOperation

from batchfront.storage.errors import StorageError
from batchfront.storage.fence import IDENTITY, OWNER
from batchfront.storage.locks import file_lock
from batchfront.storage.shared import CLAIM_PATIENCE_SECONDS, NOTHING, SharedStorage
from batchfront.storage.watch import FileWatch

STALE_SECONDS = 10
"""How long a lock may be held before it counts as left behind by a writer that died. A write takes
milliseconds, and every death inside of one makes all workers wait for so long."""
FIRST_BYTES = b'{"op_code":'  # of every line that Optuna writes


class SharedJournalStorage(JournalStorage, SharedStorage):
    """Every change is a line of the file; each process reads them all."""

    path: Path

    def check_fence(self) -> None:
        """Raise what the fence does, as the file stands; called when its lock is held.

        Raises:
            StudyGone: the study is another one.
            UpdateFinishedTrialError: the trial is another worker's.
        """
        fence = self.fence_now
        if fence is None:
            return
        self._sync_with_backend()
        studies = {study._study_id: study for study in self._replay_result.get_all_studies()}
        study = studies.get(fence.study_id)
        fence.check_study(None if study is None else study.user_attrs.get(IDENTITY))
        if fence.trial_id is not None:
            owner = self._replay_result.get_trial(fence.trial_id).user_attrs.get(OWNER)
            fence.check_owner(owner)

    @contextmanager
    def claim_lock(
        self, study_name: str, patience_seconds: float = CLAIM_PATIENCE_SECONDS
    ) -> Iterator[bool]:
        """Exclusive for all studies of the file."""
        with file_lock(_beside(self.path, ".claim"), patience_seconds) as held:
            yield held

    def set_trial_attrs(
        self, trial_id: int, user: Mapping[str, Any], system: Mapping[str, Any] = NOTHING
    ) -> None:
        """Write attributes as `SharedStorage` does: all lines at once, and flushed to the disk.

        Optuna has no public call for it; this one writes the lines that its own would.
        """
        lines: list[dict[str, Any]] = [
            {"op_code": JournalOperation.SET_TRIAL_USER_ATTR, "user_attr": {key: value}}
            for key, value in user.items()
        ] + [
            {"op_code": JournalOperation.SET_TRIAL_SYSTEM_ATTR, "system_attr": {key: value}}
            for key, value in system.items()
        ]
        if not lines:
            self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
            return
        head = {"worker_id": self._replay_result.worker_id, "trial_id": trial_id}
        with self._thread_lock:
            self._backend.append_logs([{**head, **line} for line in lines])
            self._read_own(len(lines))

    def _read_own(self, n_lines: int) -> None:
        """Read on past all of our lines: each one for a finished trial raises by itself."""
        refusal: UpdateFinishedTrialError | None = None
        for _ in range(n_lines):
            try:
                self._sync_with_backend()
            except UpdateFinishedTrialError as error:
                refusal = error
            else:
                break
        if refusal is not None:
            raise refusal


class RepairingLock(JournalFileOpenLock):
    """Optuna's lock for NFS; whoever takes it cuts off what a writer that died left unfinished.

    Optuna reads past half a line at the end of the file, but the next line would be glued to it,
    and from then on nobody could read the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), grace_period=STALE_SECONDS)
        self._path = path
        self._mine: tuple[int, int] | None = None
        self.check: Callable[[], None] | None = None  # called once it is held; may refuse it

    def acquire(self) -> bool:
        """Wait for the lock, take one that was left behind, mend the file, look at the fence."""
        taken = super().acquire()
        self._mine = self._found()
        try:
            cut_torn_line(self._path)
            if self.check is not None:
                self.check()
        except BaseException:  # Ctrl-C too: a lock left behind makes everybody wait
            self.release()
            raise
        return taken

    def release(self) -> None:
        """Give it back; a process that was paused may find that it was taken away.

        Also called by whoever takes a lock that was left behind, which is not its own.
        """
        mine, self._mine = self._mine, None
        if mine is None or mine == self._found():
            with contextlib.suppress(RuntimeError):
                super().release()

    def _found(self) -> tuple[int, int] | None:
        """What tells this lock from the next one of the same name."""
        try:
            status = os.stat(self._lock_file)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns


class JournalFile(JournalFileBackend):
    """Reads and writes one file, not whichever has its name, and says in one line what is wrong."""

    def __init__(self, path: Path) -> None:
        self.exclusive = RepairingLock(path)
        super().__init__(str(path), lock_obj=self.exclusive)
        self._watch = FileWatch(path, hold=True)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """Read changes; positions in one file say nothing about another."""
        self._watch.check()
        try:
            yield from super().read_logs(log_number_from)
        except (ValueError, RecursionError) as error:  # of a line; it does not wait for a reader
            raise _damaged(self._file_path, error) from error

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write changes down as Optuna does; what was torn is cut off by whoever writes next."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        self._watch.check()
        try:
            self.exclusive.acquire()
            try:
                self._append(lines.encode())
            finally:
                self.exclusive.release()
        except OSError as error:
            self._watch.check()  # it may have been deleted since the look before
            raise StorageError(
                f"cannot write the journal {self._file_path}: {error.strerror}: make room or mend "
                "it and run it again, nothing recorded is lost"
            ) from error

    def _append(self, lines: bytes) -> None:
        # Not by Optuna's own call, which makes a file that is missing and writes into any.
        descriptor = os.open(self._file_path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        with open(descriptor, "ab") as file:
            self._watch.check(descriptor)
            file.write(lines)
            file.flush()
            os.fsync(descriptor)
        self._watch.check()


def cut_torn_line(path: Path) -> int:
    """Cut the file back to its last whole line; returns the number of bytes cut off."""
    with open(path, "rb+") as file:
        size = file.seek(0, os.SEEK_END)
        keep = size
        while keep > 0:
            start = max(0, keep - 4096)
            file.seek(start)
            newline = file.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            file.truncate(keep)
    return size - keep


def open_worker(path: Path) -> SharedJournalStorage:
    """Open for writing; creates folder and file when they are missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    except OSError as error:
        raise StorageError(f"cannot write the journal {path}: {error.strerror}") from error
    return _open(path)


def open_reader(path: Path) -> SharedJournalStorage:
    """Open an existing file."""
    if not path.is_file():
        raise StorageError(f"there is no journal {path} yet: the first run creates it")
    return _open(path)


def _open(path: Path) -> SharedJournalStorage:
    _check_file(path)
    backend = JournalFile(path)
    try:
        storage = SharedJournalStorage(backend)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read the journal {path}: {error.strerror}") from error
    except Exception as error:  # whatever a line that Optuna has not written makes it raise
        raise _damaged(path, error) from error
    storage.path = path
    backend.exclusive.check = storage.check_fence
    return storage


def _damaged(path: str | Path, error: Exception) -> StorageError:
    why = str(error).strip() or "a line that is no change"
    return StorageError(
        f"{path} cannot be read as a journal ({type(error).__name__}: {why}): restore a copy of "
        "it, or choose another --storage"
    )


def _check_file(path: Path) -> None:
    """Refuse what is no journal: without a newline, the next write would cut it to nothing."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(FIRST_BYTES))
    except OSError as error:
        raise StorageError(f"cannot read the journal {path}: {error.strerror}") from error
    if not FIRST_BYTES.startswith(start):
        raise StorageError(f"{path} is a file of something else: choose another --storage")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)

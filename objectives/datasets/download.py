"""Brings the files of a data set into a folder: once, whole, and checked.

A download grows as `NAME.part` and gets its name when its SHA-256 is right, so that whatever has
the name is whole. One that was cut off goes on where it stopped, from any mirror.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchfront.objectives.datasets.progress import Show, say, shown
from batchfront.objectives.measurement import ObjectiveError

TIMEOUT_SECONDS = 30.0  # of a connection, and of a mirror that falls silent
ATTEMPTS = 5  # at one mirror, while each brings bytes
CHUNK_BYTES = 1 << 18


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file as its authors published it."""

    name: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Source:
    """The files of a data set, and who has them."""

    name: str  # also of the folder that they are kept in
    mirrors: tuple[str, ...]  # URLs that end in /, in the order they are asked
    files: tuple[RemoteFile, ...]


class MirrorError(Exception):
    """One mirror did not help; the next one may."""


def fetch(source: Source, data_dir: Path) -> Path:
    """The folder with all files of the data set, of which those that are missing are downloaded.

    Several processes may call it at once: one downloads, the others wait.

    Raises:
        ObjectiveError: no mirror has a file, the folder cannot be written, or a file that is there
            is another one.
    """
    folder = data_dir / source.name
    if not _missing(source, folder):
        return folder  # which need not be writable
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / "download.lock", source.name):
            for file in _missing(source, folder):  # others may have been quicker
                _download(file, source, folder)
    except OSError as error:
        raise ObjectiveError(
            f"cannot write into {folder.resolve()}: {error.strerror}: choose another --data-dir"
        ) from error
    return folder


def _missing(source: Source, folder: Path) -> list[RemoteFile]:
    """The files that are not there; those that are have been checked."""
    missing = []
    for file in source.files:
        path = folder / file.name
        if not path.exists():
            missing.append(file)
        elif wrong := _wrong(path, file):
            raise ObjectiveError(
                f"{path.resolve()} is not the one of {source.name}: {wrong}; delete it to have it "
                "downloaded, or choose another --data-dir"
            )
    return missing


def _wrong(path: Path, file: RemoteFile) -> str:
    """What differs in a file from the published one; "" where nothing does."""
    n_bytes = path.stat().st_size
    if n_bytes != file.n_bytes:
        return f"it has {n_bytes} bytes, wanted {file.n_bytes}"
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if found == file.sha256 else f"its SHA-256 is {found}, wanted {file.sha256}"


@contextmanager
def _alone(lock: Path, name: str) -> Iterator[None]:
    """No other process of this machine is inside."""
    with lock.open("ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that downloads {name}")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _download(file: RemoteFile, source: Source, folder: Path) -> None:
    part = folder / f"{file.name}.part"
    reasons = []
    for mirror in source.mirrors:
        try:
            with shown(f"{source.name}: {file.name}", file.n_bytes) as show:
                _complete(mirror + file.name, file, part, show)
        except MirrorError as error:
            reasons.append(f"{mirror} {error}")
        else:
            os.replace(part, folder / file.name)
            return
    names = ", ".join(missing.name for missing in _missing(source, folder))
    raise ObjectiveError(
        f"cannot download {file.name} of {source.name}: {'; '.join(reasons)}. Without a network "
        f"put {names} from one of these addresses into {folder.resolve()}, or name the folder that "
        f"has {source.name}/ with --data-dir"
    )


def _complete(url: str, file: RemoteFile, part: Path, show: Show) -> None:
    """Download from `url`, in several attempts, until `part` is the whole file.

    Raises:
        MirrorError: this mirror does not get us there.
    """
    for _ in range(ATTEMPTS):
        before = _size(part)
        if before < file.n_bytes:
            _receive(url, file, part, show)
        after = _size(part)
        if after >= file.n_bytes:
            wrong = _wrong(part, file)
            if not wrong:
                return
            part.unlink()
            if before == 0:
                raise MirrorError(f"has another file: {wrong}")
            # Else what we began with may have been at fault: once more from the start.
        elif after <= before:
            break
    raise MirrorError(f"sent {_size(part)} of {file.n_bytes} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, file: RemoteFile, part: Path, show: Show) -> None:
    """Append what is missing, or write all of it where the mirror cannot send a part of a file."""
    done = _size(part)
    with _asked(url, start=done) as answer:
        resumed = answer.status == 206
        if resumed and not str(answer.headers["Content-Range"]).startswith(f"bytes {done}-"):
            raise MirrorError(f"sends {answer.headers['Content-Range']}, asked for {done}-")
        done = done if resumed else 0
        length = answer.headers["Content-Length"]
        if length is not None and length != str(file.n_bytes - done):
            # Perhaps the login page of a network, which must not replace what we have.
            raise MirrorError(f"has {length} bytes to send, wanted {file.n_bytes - done}")
        with part.open("ab" if resumed else "wb") as out:
            for chunk in _chunks(answer):
                out.write(chunk[: file.n_bytes - done])
                done += len(chunk)
                show(done)
                if done >= file.n_bytes:
                    return


@contextmanager
def _asked(url: str, *, start: int) -> Iterator[Any]:
    """The mirror's answer to a request for the bytes from `start` on."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "batchfront"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        # The addresses are ours, and a redirection cannot leave http and ftp.
        answer = urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS)  # noqa: S310
    except HTTPError as error:
        raise MirrorError(f"answers {error.code} {error.reason}") from error
    except (OSError, HTTPException) as error:
        raise MirrorError(f"does not answer ({getattr(error, 'reason', error)})") from error
    with answer:
        yield answer


def _chunks(answer: Any) -> Iterator[bytes]:
    """What comes, until the end or until the connection breaks."""
    from http.client import HTTPException

    while True:
        try:
            chunk = answer.read1(CHUNK_BYTES)
        except (OSError, HTTPException):
            return  # what has come is kept
        if not chunk:
            return
        yield chunk

"""Where a file lives, and who is refused for it: SQLite's locks do not work over a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchfront.storage import sqlite_file
from batchfront.storage.errors import StorageError
from batchfront.storage.open import open_storage
from tests.storage.conftest import copy_study

MOUNTS = r"""
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/local ext4 rw 0 0
//nas/share /mnt/my\040share cifs rw 0 0
/dev/vdc /mnt/twice ext4 rw 0 0
server:/late /mnt/twice nfs rw 0 0
tmpfs /homework tmpfs rw 0 0
""".lstrip()


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/data/study.db", "ext4"),
        ("/home/me/study.db", "nfs4"),
        ("/home/local/study.db", "ext4"),  # the longest mount point
        ("/home/locality/study.db", "nfs4"),  # whole names, not letters
        ("/homework/study.db", "tmpfs"),
        ("/mnt/my share/study.db", "cifs"),
        ("/mnt/twice/study.db", "nfs"),  # the later mount hides the earlier
        ("/home/local/../study.db", "nfs4"),
    ],
)
def test_the_file_system_is_that_of_the_nearest_mount(tmp_path, file, kind):
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)
    assert sqlite_file.file_system(Path(file), mounts) == kind


def test_the_file_system_is_unknown_where_the_system_does_not_tell(tmp_path):
    assert sqlite_file.file_system(tmp_path, tmp_path / "no mounts") is None


@pytest.mark.parametrize("mode", ["worker", "reader"])
@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs", "lustre"])
def test_a_network_file_system_is_refused_before_anything_is_made(
    tmp_path, monkeypatch, kind, mode
):
    file = tmp_path / "new" / "study.db"
    if mode == "reader":
        copy_study(f"sqlite:///{file}")
    monkeypatch.setattr(sqlite_file, "file_system", lambda path: kind)
    with pytest.raises(StorageError, match=f"is on a network file system .{kind}.,"):
        open_storage(f"sqlite:///{file}", mode=mode)
    assert file.parent.exists() == (mode == "reader")

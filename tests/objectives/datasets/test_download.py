"""Downloads against a local mirror: whole, checked, resumed, and once."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from batchfront.objectives.datasets import progress
from batchfront.objectives.datasets.download import fetch
from batchfront.objectives.measurement import ObjectiveError
from tests.image_files import Files, Mirror, put, serving, source_of

FILES = {"images.gz": os.urandom(50_000), "labels.gz": os.urandom(100)}
NOBODY = "http://127.0.0.1:9/"  # the port "discard", which nobody serves


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def serve():
    """Starts a mirror of FILES, or of others."""
    with ExitStack() as stack:

        def start(files: Files = FILES, **faults) -> Mirror:
            return stack.enter_context(serving(Mirror(files, **faults)))

        yield start


def fetched(data_dir: Path, *mirrors: str, files: Files = FILES) -> Files:
    """What lies in the folder after."""
    folder = fetch(source_of("set", files, mirrors), data_dir)
    assert folder == data_dir / "set"
    return {path.name: path.read_bytes() for path in folder.glob("*.*z*")}


def refusal(data_dir: Path, *mirrors: str) -> str:
    with pytest.raises(ObjectiveError) as caught:
        fetched(data_dir, *mirrors)
    return str(caught.value)


def test_files_are_downloaded_whole_and_only_once(tmp_path, serve):
    mirror = serve()
    assert fetched(tmp_path / "data", mirror.url) == FILES
    assert fetched(tmp_path / "data", mirror.url) == FILES
    assert mirror.asked == [(name, None) for name in FILES]


def test_files_put_there_by_hand_need_no_network(tmp_path):
    put(FILES, tmp_path / "set")
    assert fetched(tmp_path) == FILES
    assert {path.name for path in (tmp_path / "set").iterdir()} == set(FILES)  # not even a lock


def test_a_partial_download_goes_on_where_it_stopped(tmp_path, serve):
    mirror = serve()
    put({"images.gz.part": FILES["images.gz"][:12_345]}, tmp_path / "set")
    assert fetched(tmp_path, mirror.url) == FILES
    assert mirror.asked == [("images.gz", "bytes=12345-"), ("labels.gz", None)]


def test_a_connection_that_breaks_is_taken_up_again(tmp_path, serve):
    mirror = serve(cut_after=20_000)
    assert fetched(tmp_path, mirror.url) == FILES
    ranges = [wanted for name, wanted in mirror.asked if name == "images.gz"]
    assert ranges == [None, "bytes=20000-", "bytes=40000-"]


@pytest.mark.parametrize("tells_length", [True, False])
def test_a_server_that_cannot_send_a_part_of_a_file_sends_all_of_it(tmp_path, serve, tells_length):
    mirror = serve(knows_ranges=False, tells_length=tells_length)
    put({"images.gz.part": FILES["images.gz"][:100]}, tmp_path / "set")
    assert fetched(tmp_path, mirror.url) == FILES
    assert mirror.asked[0] == ("images.gz", "bytes=100-")


def test_a_partial_download_with_wrong_bytes_is_begun_anew(tmp_path, serve):
    mirror = serve()
    put({"images.gz.part": bytes(100)}, tmp_path / "set")
    assert fetched(tmp_path, mirror.url) == FILES
    assert [wanted for _, wanted in mirror.asked] == ["bytes=100-", None, None]


def test_what_was_complete_before_a_crash_is_not_asked_for_again(tmp_path, serve):
    mirror = serve()
    put({"images.gz.part": FILES["images.gz"]}, tmp_path / "set")
    assert fetched(tmp_path, mirror.url) == FILES
    assert mirror.asked == [("labels.gz", None)]


OTHER = {name: bytes(len(body)) for name, body in FILES.items()}
PAGE = dict.fromkeys(FILES, b"<html>please log in")


@pytest.mark.parametrize("tells_length", [True, False])
@pytest.mark.parametrize("files", [{}, OTHER, PAGE], ids=["404", "checksum", "login page"])
def test_the_next_mirror_is_asked_when_one_has_not_the_file(tmp_path, serve, files, tells_length):
    first, second = serve(files, tells_length=tells_length), serve()
    assert fetched(tmp_path, NOBODY, first.url, second.url) == FILES
    assert first.asked


def test_the_next_mirror_goes_on_where_the_first_gave_up(tmp_path, serve):
    first, second = serve(cut_after=20_000, knows_ranges=False), serve()
    assert fetched(tmp_path, first.url, second.url) == FILES
    assert second.asked[0] == ("images.gz", "bytes=20000-")


def test_a_login_page_in_place_of_the_file_leaves_what_was_there_alone(tmp_path, serve):
    first, second = serve(PAGE, knows_ranges=False), serve()
    put({"images.gz.part": FILES["images.gz"][:12_345]}, tmp_path / "set")
    assert fetched(tmp_path, first.url, second.url) == FILES
    assert second.asked[0] == ("images.gz", "bytes=12345-")


def test_without_a_network_it_says_which_files_from_where_and_where_to(tmp_path, serve):
    mirror = serve({})
    said = refusal(tmp_path, NOBODY, mirror.url)
    for part in (
        "cannot download images.gz of set",
        f"{NOBODY} does not answer",
        "refused",
        f"{mirror.url} answers 404",
        f"put images.gz, labels.gz from one of these addresses into {tmp_path / 'set'}",
        "--data-dir",
    ):
        assert part in said
    assert "\n" not in said


def test_other_bytes_from_every_mirror_are_refused_and_not_kept(tmp_path, serve):
    said = refusal(tmp_path, serve(OTHER).url)
    assert "has another file: its SHA-256 is" in said
    assert {path.name for path in (tmp_path / "set").iterdir()} == {"download.lock"}


def test_a_truncated_download_is_refused_and_what_came_is_kept(tmp_path, serve):
    mirror = serve({"images.gz": FILES["images.gz"][:40_000]}, tells_length=False)
    assert "sent 40000 of 50000 bytes" in refusal(tmp_path, mirror.url)
    assert (tmp_path / "set" / "images.gz.part").read_bytes() == FILES["images.gz"][:40_000]


@pytest.mark.parametrize(
    ("body", "said"),
    [(FILES["images.gz"][:-1], "it has 49999 bytes, wanted 50000"), (bytes(50_000), "SHA-256")],
)
def test_a_file_that_is_not_the_published_one_is_refused_and_left_alone(tmp_path, body, said):
    put({**FILES, "images.gz": body}, tmp_path / "set")
    refused = refusal(tmp_path, NOBODY)
    assert refused.startswith(f"{tmp_path / 'set' / 'images.gz'} is not the one of set: ")
    assert said in refused
    assert (tmp_path / "set" / "images.gz").read_bytes() == body


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file")
    assert f"cannot write into {tmp_path / 'data' / 'set'}" in refusal(tmp_path / "data", NOBODY)


def test_of_several_processes_one_downloads_and_the_others_wait(tmp_path, serve):
    mirror = serve(seconds=0.5)
    source = source_of("set", FILES, (mirror.url,))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fetch, args=(source, tmp_path)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert Counter(name for name, _ in mirror.asked) == Counter(list(FILES))
    assert fetched(tmp_path) == FILES


def test_a_download_that_takes_long_is_shown_and_a_quick_one_is_not(
    tmp_path, serve, monkeypatch, capfd
):
    fetched(tmp_path / "quick", serve().url)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    fetched(tmp_path / "slow", serve().url)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "downloading set: images.gz (0.1 MB)" in shown.err


def test_on_a_terminal_a_bar_is_shown(tmp_path, serve, monkeypatch, capfd):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    fetched(tmp_path, serve().url)
    assert "50.0/50.0 kB" in capfd.readouterr().err

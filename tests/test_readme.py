"""What the README says to type works, in a copy of the checkout."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from batchfront.study.cli.main import parser
from batchfront.study.cli.words import as_options, variables
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"N_TRIALS": "3", "EPOCHS": "2", "BATCH_SIZES": "64:512"}  # where a command says nothing
QUICK = {"study": SMALL, "probe": {k: SMALL[k] for k in ("EPOCHS", "BATCH_SIZES")}}


def _is_prepared() -> bool:
    """Else make would install into the environment, which other checkouts may share."""
    paths = [
        ROOT / name for name in ("constraints.txt", "pyproject.toml", ".venv/.run", ".venv/.test")
    ]
    if not all(path.exists() for path in paths):
        return False
    *files, installed, complete = (path.stat().st_mtime for path in paths)
    return max(files) <= installed <= complete


pytestmark = pytest.mark.skipif(
    not _is_prepared(), reason="needs the environment as make prepares it: make test"
)


def _commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [line.split("  #")[0].strip() for line in lines]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files beside the same virtual environment."""
    copy = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    (copy / ".venv").symlink_to(ROOT / ".venv")
    return copy


def _run(command: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        command,
        shell=True,
        cwd=cwd,
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


@pytest.mark.parametrize("command", [line for line in _commands() if line != "make test"])
def test_a_command_of_the_readme_is_understood(checkout, command):
    make, target, *_ = shlex.split(command)
    shown = _run(command.replace(make, "make -n", 1), checkout).stdout.splitlines()[-1]
    _, _, module, *words = shlex.split(shown)
    assert (make, module, words[0]) == ("make", "study", _targets()[target])
    parser().parse_args(words)


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_order(checkout):
    ran = []
    for command in _commands():
        if command == "make dashboard":
            _check_dashboard(checkout)
        elif command == "make test":
            assert "-m pytest" in _run("make -n test", checkout).stdout
        else:
            done = _run(_quick(command), checkout)
            assert done.returncode == 0, f"{command}: {done.stderr}"
        ran.append(command)
    assert len(ran) >= 10
    assert (checkout / "runs" / "digits.html").exists()


def _quick(command: str) -> str:
    """The same for a smaller study."""
    more = {} if "=" in command and "smallest" in command else QUICK.get(command.split()[1], {})
    return " ".join([command, *(f"{k}={v}" for k, v in more.items() if f"{k}=" not in command)])


def _check_dashboard(checkout: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        ["make", "dashboard", f"PORT={port}"],
        cwd=checkout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
                    assert page.status == 200
                return
            except OSError:
                time.sleep(0.1)
        pytest.fail("the dashboard did not answer")
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_every_verb_has_help_and_stands_in_the_readme(checkout):
    text = " ".join((ROOT / "README.md").read_text().split())
    listed = _run(".venv/bin/batchfront --help", checkout).stdout
    verbs = re.findall(r"^    ([\w-]+) ", listed, re.MULTILINE)
    assert set(verbs) >= {"run", "ls", "front", "export", "report"}
    for verb in verbs:
        shown = _run(f".venv/bin/batchfront {verb} --help", checkout)
        assert shown.returncode == 0
        assert f"batchfront {verb}" in text or f"make {verb}" in text, verb


def _targets() -> dict[str, str]:
    """Verbs by their targets."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (listed,) = re.findall(r"^VERBS := (.*)$", text, re.MULTILINE)
    return {"study": "run", **{verb: verb for verb in listed.split()}}


def _parsers() -> dict[str, argparse.ArgumentParser]:
    (verbs,) = (action for action in parser()._actions if isinstance(action.choices, dict))
    return verbs.choices


def test_every_verb_has_a_target_of_its_name():
    assert sorted(_targets().values()) == sorted(_parsers())
    assert "run" not in _targets()


@pytest.mark.parametrize("target", _targets())
def test_what_is_typed_after_make_reaches_the_verb_and_is_understood(checkout, target):
    verb = _parsers()[_targets()[target]]
    known = variables(verb._actions)
    typed = {name: 'it\'s $(x) "y"' for name in known if name not in ("STORAGE", "FROM", "TO")}
    given = " ".join(shlex.quote(f"{k}={v}") for k, v in typed.items())
    shown = _run(f"make -n {target} {given}", checkout).stdout.splitlines()[-1]
    _, _, module, name, *words = shlex.split(shown)
    assert (module, name) == ("study", _targets()[target])
    assert sorted(words) == sorted(f"{k}={v}" for k, v in typed.items())
    options = as_options(words, verb._actions, verb=name)
    flags = {flag.partition("=")[0] for flag in options}
    for variable in typed:
        action = known[variable]
        assert (action.option_strings or ['it\'s $(x) "y"'])[-1] in flags


def test_a_variable_that_a_verb_does_not_know_is_refused_with_the_nearest_one(checkout):
    for command, near in {
        "make study N_TRIAL=60": "run takes no N_TRIAL: did you mean N_TRIALS?",
        "make smallest TARGET=0.9 PRUNER=none": "smallest takes no PRUNER: did you mean",
        "make front JSN=1": "front takes no JSN: did you mean JSON?",
    }.items():
        done = _run(command, checkout)
        assert done.returncode == 2
        assert near in done.stderr
        assert "Traceback" not in done.stderr


def test_variables_of_the_environment_change_nothing(checkout):
    plain = _run("make -n study serve", checkout)
    exported = _run("make -n study serve", checkout, SEED="9", HOST="0.0.0.0", N_TRIALS="1")
    assert exported.stdout == plain.stdout
    assert plain.stdout.count("-m study") == 2


def test_a_storage_url_is_neither_echoed_nor_an_argument(checkout):
    url = "sqlite:///secret-name.db"
    assert "secret-name" not in _run(f"make -n study STORAGE={url}", checkout).stdout
    done = _run(_quick(f"make study STORAGE={url}"), checkout)
    assert done.returncode == 0, done.stderr
    assert (checkout / "secret-name.db").exists()


def test_a_password_that_make_was_given_is_told_of_and_one_of_the_environment_is_not(checkout):
    url = "'grpc://me:secret-word@host'"
    for typed, n_warnings in (
        (f"make front STORAGE={url}", 1),
        (f"make front BATCHFRONT_STORAGE={url}", 1),
        (f"STORAGE={url} make front", 0),
        (f"BATCHFRONT_STORAGE={url} make front", 0),
    ):
        said = _run(typed, checkout).stderr
        assert said.count("warning: every user of this machine can see the password") == n_warnings
        assert "is no address of a gRPC server" in said
        assert "secret-word" not in said


def test_the_urls_of_a_copy_are_neither_echoed_nor_arguments(checkout):
    urls = "FROM=sqlite:///absent-name.db TO=sqlite:///runs/second-name.db"
    shown = _run(f"make -n copy {urls}", checkout).stdout
    assert "study copy" in shown
    assert "-name.db" not in shown
    assert "absent-name.db" in _run(f"make copy {urls} STUDY_NAME=none", checkout).stderr


def test_a_second_make_starts_at_once(checkout):
    assert "pip install" not in _run("make -n study test", checkout).stdout

"""The files of deploy/ are what the tools that read them want, and type what our parser takes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import kubernetes_validate
import pytest

from batchfront.study.cli.main import parser
from tests.deployed import (
    DEPLOY,
    ROOT,
    compose_file,
    dockerfile,
    entrypoint,
    manifests,
    worker_job,
)

COMMAND = "batchfront"
SHELLCHECK = shutil.which("shellcheck")


def _filled(words: list[str]) -> list[str]:
    """With the defaults of ${NAME:-default}, and without what a person adds."""
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words if word != "$@"]


def _command_lines() -> dict[str, list[str]]:
    """Every `batchfront ...` of the files and documents, by where it stands."""
    worker = worker_job()["template"]["spec"]["containers"][0]
    found = {"kubernetes.yaml": worker["command"] + worker["args"]}
    for name, service in compose_file()["services"].items():
        if service.get("image") == "batchfront":
            found[f"compose.yaml {name}"] = entrypoint() + service["command"]
    (default,) = re.findall(r"^CMD (.*)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    found["Dockerfile"] = entrypoint() + json.loads(default)
    for file in ("deploy/slurm.sh", "deploy/README.md", "docs/clusters.md"):
        text = (ROOT / file).read_text()
        if file.endswith(".md"):
            text = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
        lines = re.findall(r"^(?!#)(?:.* )?((?:\S*/)?batchfront [a-z].*)$", text, re.MULTILINE)
        for n, line in enumerate(lines):
            found[f"{file} {n}"] = shlex.split(line, comments=True)
    return {where: _filled(words) for where, words in found.items()}


@pytest.mark.parametrize("where", _command_lines())
def test_every_command_line_is_one_that_the_parser_takes(where):
    words = _command_lines()[where]
    start = next(n for n, word in enumerate(words) if word.split("/")[-1] == COMMAND)
    verb, *options = words[start + 1 :]
    taken = vars(parser().parse_args([verb, *options]))
    named = {word[2:].replace("-", "_") for word in options if word.startswith("--")}
    assert {"verb"} | named <= set(taken)


def test_kubernetes_manifests_fit_their_schemas():
    kinds = []
    for manifest in manifests():
        kubernetes_validate.validate(manifest, "1.31", strict=True)
        kinds.append(manifest["kind"])
    assert sorted(kinds) == ["Job", "PersistentVolumeClaim", "Secret"]


def test_a_preempted_pod_is_started_again_and_a_users_error_ends_the_job():
    job = worker_job()
    pod = job["template"]["spec"]
    assert job["completionMode"] == "Indexed"
    assert job["completions"] == job["parallelism"] > 1
    assert pod["restartPolicy"] == "Never", "podFailurePolicy wants it"
    assert pod["terminationGracePeriodSeconds"] >= 30
    rules = job["podFailurePolicy"]["rules"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert {
        code: rule["action"] for rule in rules[1:] for code in rule["onExitCodes"]["values"]
    } == {143: "Ignore", 2: "FailJob"}
    names = {container["name"] for container in pod["containers"]}
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} <= names


def test_pods_get_the_storage_from_the_secret_and_mount_the_claim():
    pod = worker_job()["template"]["spec"]
    (worker,) = pod["containers"]
    by_kind = {one["kind"]: one for one in manifests()}
    (variable,) = worker["env"]
    reference = variable["valueFrom"]["secretKeyRef"]
    assert variable["name"] == "BATCHFRONT_STORAGE"
    assert reference["name"] == by_kind["Secret"]["metadata"]["name"]
    assert reference["key"] in by_kind["Secret"]["stringData"]
    claim = by_kind["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    (volume,) = [one for one in pod["volumes"] if "persistentVolumeClaim" in one]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    mounts = {mount["name"]: mount["mountPath"] for mount in worker["volumeMounts"]}
    assert set(mounts) == {one["name"] for one in pod["volumes"]}
    checkpoints = worker["args"][worker["args"].index("--checkpoint-dir") + 1]
    assert mounts[volume["name"]] == checkpoints
    (data,) = re.findall(r"^ENV BATCHFRONT_DATA=(.*)$", dockerfile(), re.MULTILINE)
    assert set(mounts.values()) == {checkpoints, data, "/tmp"}, "all that a worker writes"


def test_what_compose_serves_is_reached_from_this_machine_only():
    services = compose_file()["services"]
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_starts_workers_when_the_database_answers():
    compose = compose_file()
    services = compose["services"]
    database, worker = services["postgres"], services["worker"]
    assert "pg_isready" in database["healthcheck"]["test"]
    assert database["environment"]["POSTGRES_INITDB_ARGS"] == "--encoding=UTF8"
    for service in (worker, services["dashboard"]):
        assert service["depends_on"]["postgres"]["condition"] == "service_healthy"
        url = service["environment"]["BATCHFRONT_STORAGE"]
        user, _, rest = url.partition("://")[2].partition("@")
        assert user == database["environment"]["POSTGRES_USER"]
        assert rest == f"postgres/{database['environment']['POSTGRES_DB']}"
    assert worker["deploy"]["replicas"] > 1
    mounted = [v for s in services.values() for v in s.get("volumes", []) if v[0] != "$"]
    assert {volume.partition(":")[0] for volume in mounted} == set(compose["volumes"])


def test_no_password_stands_in_any_file():
    wanted = {"PASSWORD", "${POSTGRES_PASSWORD:?deploy/.env lacks it}"}
    for path in [*DEPLOY.iterdir(), ROOT / "docs" / "clusters.md"]:
        text = path.read_text()
        in_urls = re.findall(r"://[^\s:/@]+:([^\s@]+)@", text)
        named = re.findall(r"^\s*\w*PASSWORD: (.*?)(?:  #.*)?$", text, re.MULTILINE)
        assert set(in_urls + named) <= wanted, path
    ignored = (ROOT / ".gitignore").read_text().split()
    assert "deploy/.env" in ignored


def test_slurm_sends_sigterm_to_the_script_itself_and_requeues():
    text = (DEPLOY / "slurm.sh").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", text, re.MULTILINE))
    assert options["signal"] == "B:TERM@60"
    assert {"array", "requeue", "cpus-per-task"} <= set(options)


def test_the_slurm_script_is_valid_bash():
    done = subprocess.run(["bash", "-n", DEPLOY / "slurm.sh"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(
    SHELLCHECK is None and not os.environ.get("BATCHFRONT_REQUIRE_SHELLCHECK"),
    reason="needs shellcheck (Debian package shellcheck)",
)
def test_shellcheck_finds_nothing_in_the_slurm_script():
    done = subprocess.run(
        [SHELLCHECK or "shellcheck", DEPLOY / "slurm.sh"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


FAKE_COMMAND = """#!/usr/bin/env bash
echo "$$ $BATCHFRONT_STORAGE $*" > started
trap 'echo term > signalled; exit 143' TERM
while [ -f hold ]; do sleep 0.05; done
"""


@pytest.fixture
def submit(tmp_path):
    """Runs slurm.sh as Slurm would, with a stand-in for our command; returns the process."""
    fake = tmp_path / ".venv" / "bin" / "batchfront"
    fake.parent.mkdir(parents=True)
    fake.write_text(FAKE_COMMAND)
    fake.chmod(0o755)

    def start(*args: str, **environment: str) -> subprocess.Popen[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BATCHFRONT")}
        return subprocess.Popen(
            [DEPLOY / "slurm.sh", *args],
            env={**kept, "HOME": str(tmp_path), "SLURM_SUBMIT_DIR": str(tmp_path), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_slurms_signal_reaches_python_and_the_url_is_no_argument(submit, tmp_path):
    (tmp_path / "hold").touch()
    process = submit("--n-trials", "9", BATCHFRONT_STORAGE="postgresql+psycopg://host/db")
    end = time.monotonic() + 20
    while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert (tmp_path / "signalled").exists()
    pid, url, *words = (tmp_path / "started").read_text().split()
    assert int(pid) == process.pid, "exec: no shell in between"
    assert url == "postgresql+psycopg://host/db"
    assert words[0] == "run"
    assert words[-2:] == ["--n-trials", "9"]
    assert url not in words


def test_a_storage_file_is_read_only_while_others_cannot(submit, tmp_path):
    file = tmp_path / ".config" / "batchfront" / "storage"
    process = submit()
    assert "neither BATCHFRONT_STORAGE is set" in process.communicate()[1]
    assert process.returncode == 2
    file.parent.mkdir(parents=True)
    file.write_text("sqlite:///a.db\n")
    file.chmod(0o644)
    process = submit()
    assert "others can read" in process.communicate()[1]
    assert process.returncode == 2
    file.chmod(0o600)
    process = submit()
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert " sqlite:///a.db " in (tmp_path / "started").read_text()

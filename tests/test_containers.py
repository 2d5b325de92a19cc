"""What the containers of deploy/ are built from, hold, and may do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib

import pytest

from tests.deployed import (
    DEPLOY,
    ROOT,
    compose_file,
    dockerfile,
    entrypoint,
    worker_job,
)

# Starts the module named by its first argument, without what this environment has installed of us.
START = """
import runpy, sys
root, module, *sys.argv[1:] = sys.argv[1:]
sys.path = ["", *(path for path in sys.path if path != root)]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def test_the_image_has_the_folders_that_volumes_cover_for_the_user_it_runs_as():
    text = dockerfile()
    volumes = [v.rsplit(":", 1)[1] for v in compose_file()["services"]["worker"]["volumes"]]
    assert set(volumes) - {"ro"} == set(re.search(r"chown batchfront (.*)", text)[1].split())
    (user,) = re.findall(r"^USER (.*)$", text, re.MULTILINE)
    pod = worker_job()["template"]["spec"]["securityContext"]
    assert user == f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert f"--uid {pod['runAsUser']} batchfront" in text
    assert "-c constraints.txt" in text
    assert entrypoint()[0] == "tini", "signals reach Python at any time"


def test_every_image_of_others_is_pinned_by_its_digest():
    text = dockerfile()
    arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    bases = [arguments[name] for name in re.findall(r"^FROM \$\{(\w+)\}$", text, re.MULTILINE)]
    assert len(bases) == len(re.findall(r"^FROM ", text, re.MULTILINE)) == 1
    used = [service["image"] for service in compose_file()["services"].values()]
    for image in {*bases, *used} - {"batchfront"}:
        assert re.fullmatch(r"\w+:\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image), image
    assert "postgres" in {image.partition(":")[0] for image in used}


def _copied() -> list[str]:
    """What the image has of the checkout."""
    lines = re.findall(r"^(?:COPY|ADD) (.*)$", dockerfile(), re.MULTILINE)
    return [word for line in lines for word in line.split()[:-1]]


def test_the_image_holds_the_program_by_name_and_nothing_else_of_the_checkout():
    copied = _copied()
    assert all(re.fullmatch(r"\w[\w.]*", name) and (ROOT / name).exists() for name in copied)
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*", "not even sent to the builder"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == set(copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {project["readme"], *project["license-files"]} <= set(copied), "to be installed"


@pytest.mark.slow
def test_the_program_starts_from_what_the_image_holds(tmp_path):
    for name in _copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path / name)
    *_, module = entrypoint()
    done = subprocess.run(
        [sys.executable, "-c", START, ROOT, module, "run", "--task", "absent"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "digits" in done.stderr, "it knows the bundled tasks"


def test_no_container_is_root_or_gains_rights_or_writes_beside_its_mounts():
    services = compose_file()["services"]
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert "/tmp" in service["tmpfs"], name
        assert "privileged" not in service, name
    assert services["postgres"]["user"] == "postgres"
    assert not {"user"} & (set(services["worker"]) | set(services["dashboard"])), "the image's"
    pod = worker_job()["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (worker,) = pod["containers"]
    assert worker["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_only_the_file_for_it_asks_for_a_gpu():
    assert "devices" not in json.dumps(compose_file())
    (name, worker), *others = compose_file("compose.gpu.yaml")["services"].items()
    assert others == []
    assert name in compose_file()["services"]
    assert worker["deploy"]["replicas"] == 1, "a GPU runs one trial at a time"
    assert worker["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "device_ids": ["${GPU:-0}"], "capabilities": ["gpu"]}
    ]


def test_tasks_of_ones_own_are_mounted_to_be_read_only():
    (mount,) = [v for v in compose_file()["services"]["worker"]["volumes"] if v[0] == "$"]
    assert mount == "${TASK_DIR:-../examples}:/tasks:ro"
    assert (DEPLOY / "../examples").is_dir()

"""The files of deploy/, taken apart."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"


def compose_file(file: str = "compose.yaml") -> dict:
    """The file of Docker Compose."""
    return yaml.safe_load((DEPLOY / file).read_text())


def dockerfile() -> str:
    """The Dockerfile, with its long lines put together."""
    return (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")


def manifests() -> list[dict]:
    """The manifests of Kubernetes."""
    files = sorted(DEPLOY.glob("kubernetes*.yaml"))
    return [one for file in files for one in yaml.safe_load_all(file.read_text())]


def worker_job() -> dict:
    """The specification of the only one of its kind."""
    return next(one for one in manifests() if one["kind"] == "Job")["spec"]


def entrypoint() -> list[str]:
    """The entry point of the image."""
    (line,) = re.findall(r"^ENTRYPOINT (.*)$", dockerfile(), re.MULTILINE)
    return json.loads(line)

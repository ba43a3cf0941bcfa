"""``make lock``: resolve pyproject.toml anew and pin what came of it.

requirements.lock holds what running needs, requirements-dev.lock what checking and testing need besides, and
requirements-clients.lock other servers' clients, which are tested against from an environment of their own;
requirements-node.lock Node.js, for machines that have none to build the dashboard with.
Versions only: where packages come from is pip's configuration.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What building the editable install needs; hatchling asks for editables only when it builds one.
BUILD = ["editables"]
HEAD = "# Made by `make lock` from pyproject.toml. {what}\n"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    run = [*project["project"]["dependencies"], *project["build-system"]["requires"], *BUILD]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        pinned = install(python, run)
        write("requirements.lock", "What running needs.", pinned)
        more = [line for line in install(python, project["dependency-groups"]["dev"]) if line not in pinned]
        write("requirements-dev.lock", "What checking and testing need besides.", ["-r requirements.lock", *more])
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        clients = install(str(Path(folder) / "bin" / "python"), project["dependency-groups"]["clients"])
        write("requirements-clients.lock", "Other servers' clients, for tests, by themselves.", clients)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        node = install(str(Path(folder) / "bin" / "python"), project["dependency-groups"]["node"])
        write("requirements-node.lock", "Node.js, where the machine has none.", node)


def install(python: str, requirements: list[str]) -> list[str]:
    """Install beside what is there already, which stays as it is; gives all that is there then."""
    pip = [python, "-m", "pip", "-qq", "--disable-pip-version-check"]
    before = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(before)
        constraints.flush()
        subprocess.run([*pip, "install", "-c", constraints.name, *requirements], check=True)
    frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    return sorted(frozen.splitlines(), key=str.lower)


def write(name: str, what: str, lines: list[str]) -> None:
    text = HEAD.format(what=what) + "\n".join(lines) + "\n"
    if "://" in text:
        sys.exit(f"{name} would name a host or path:\n{text}")
    (ROOT / name).write_text(text)


if __name__ == "__main__":
    main()

"""The container file, and what runs it with PostgreSQL: what they name is what there is elsewhere."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from dicomnet.archive.applied import is_guarded
from dicomnet.settings.reading import read

from .written import DEPLOY, ROOT, parsed

IMAGE = (DEPLOY / "Containerfile").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
CONFIGURATION = DEPLOY / "compose.toml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instruction(name: str) -> list[str]:
    """The words of an instruction in its exec form; of several the last."""
    found: list[str] = json.loads(re.findall(rf"^ *{name} (\[.*\])$", IMAGE, re.MULTILINE)[-1])
    return found


def variables() -> dict[str, str]:
    """The variables that the image and compose.yaml set for the node."""
    in_image = dict(re.findall(r"(DICOMNET_\w+)=(\S*)", IMAGE))
    return {
        **{name: value.strip('"') for name, value in in_image.items()},
        **dict(re.findall(r"(DICOMNET_\w+): (\S+)", COMPOSE)),
    }


def test_what_the_image_is_made_of_exists() -> None:
    copied = [
        path for line in re.findall(r"^COPY (?!--)(.*) \S+$", IMAGE, re.MULTILINE) for path in line.split()
    ]
    assert copied == ["pyproject.toml", "README.md", "LICENSE", "src"]
    assert all((ROOT / path).exists() for path in copied)
    # The rest of the folder, such as data/, does not even come to who makes the image.
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == set(copied)
    assert {PROJECT["readme"], *PROJECT["license-files"]} < set(copied)
    (extras,) = re.findall(r"'\.\[(.*)\]'", IMAGE)
    assert set(extras.split(",")) == set(PROJECT["optional-dependencies"])
    (python,) = re.findall(r"^ARG PYTHON=(.*)$", IMAGE, re.MULTILINE)
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]


def test_the_node_is_the_first_process_and_gets_the_signals() -> None:
    name, options = parsed(" ".join(instruction("ENTRYPOINT") + instruction("CMD")))
    assert name == "serve"
    assert f"./compose.toml:{options.config}:ro" in COMPOSE
    assert "USER dicomnet" in IMAGE


def test_the_settings_of_the_image_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    settings = read(CONFIGURATION, {})
    assert settings["server.address"] == ""
    (volume,) = instruction("VOLUME")
    assert str(settings["storage.folder"].parent) == volume
    assert f"- archive:{volume}\n" in COMPOSE
    assert settings["storage.database"] == "postgresql://dicomnet@database/dicomnet"
    assert f"EXPOSE {settings['server.port']}\n" in IMAGE
    assert f'"127.0.0.1:{settings["server.port"]}:{settings["server.port"]}"' in COMPOSE
    check = IMAGE[IMAGE.index("HEALTHCHECK") : IMAGE.index("ENTRYPOINT")]
    assert f"'127.0.0.1', {settings['watch.port']}," in check
    assert int(re.findall(r"stop_grace_period: (\d+)s", COMPOSE)[0]) >= settings["server.drain"] + 30


def test_nobody_is_let_in_who_proves_nothing() -> None:
    settings = read(CONFIGURATION, {})
    assert is_guarded(settings)
    assert settings.access is not None
    assert f"subnet: {settings.access[0]['address']}\n" in COMPOSE
    assert not re.search(r"PASSWORD\S* \w+$", COMPOSE, re.MULTILINE)

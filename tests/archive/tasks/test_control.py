"""The control socket: a node performs what a command asks for, and nobody else may ask."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.archive.tasks.kept import Kept

from dicomnet.archive.holdings import Holdings
from dicomnet.archive.tasks.control import NAME, Control, ask
from dicomnet.archive.tasks.performing import perform
from dicomnet.archive.tasks.task import Reporter, TaskFailed, TaskStopped, performer
from dicomnet.errors import StoreInUse

Run = Callable[..., Any]


@pytest.fixture
def holdings(tmp_path: Path) -> Iterator[Holdings]:
    """An archive."""
    with Holdings(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def tasks() -> dict[str, Run]:
    """Tasks of a test by name, which can be asked for."""
    return {}


def _serving(holdings: Holdings, tasks: dict[str, Run]) -> Control:
    control = Control(holdings, lambda name: tasks[name] if name in tasks else performer(name))
    control.start()
    return control


def test_a_task_is_performed_by_the_process_that_has_the_archive(
    holdings: Holdings, tasks: dict[str, Run]
) -> None:
    def say(asked: Holdings, reporter: Reporter, *, words: list[str]) -> dict[str, Any]:
        assert asked is holdings
        for number, word in enumerate(words):
            reporter.progress(number, len(words))
            reporter.item(word=word)
        return {"said": len(words)}

    tasks["say"] = say
    kept = Kept()
    with closing(_serving(holdings, tasks)):
        assert ask(holdings.local.root, "say", {"words": ["Müller", "b\n"]}, kept) == {"said": 2}
    assert kept.items == [{"word": "Müller"}, {"word": "b\n"}]
    assert kept.reached == [(0, 2)]


def test_what_is_said_may_have_any_name(holdings: Holdings, tasks: dict[str, Run]) -> None:
    """A field named as one of the protocol's own would have changed what the line was about."""

    def say(_: Holdings, reporter: Reporter) -> dict[str, Any]:
        reporter.item(about="end", failed=1)
        return {"about": "failed", "cause": "none"}

    tasks["say"] = say
    kept = Kept()
    with closing(_serving(holdings, tasks)):
        assert ask(holdings.local.root, "say", {}, kept) == {"about": "failed", "cause": "none"}
    assert kept.items == [{"about": "end", "failed": 1}]


def test_why_a_task_failed_is_told_and_the_next_one_is_performed(
    holdings: Holdings, tasks: dict[str, Run]
) -> None:
    def fail(_: Holdings, reporter: Reporter, *, error: str) -> dict[str, Any]:
        raise {"file": PermissionError(13, "Permission denied", "/x/y"), "bug": RuntimeError("secret")}[error]

    tasks["fail"] = fail
    with closing(_serving(holdings, tasks)):
        with pytest.raises(TaskFailed, match=r"^/x/y: Permission denied$"):
            ask(holdings.local.root, "fail", {"error": "file"}, Kept())
        with pytest.raises(TaskFailed, match="RuntimeError; see its log") as failed:
            ask(holdings.local.root, "fail", {"error": "bug"}, Kept())
        assert "secret" not in str(failed.value)
        with pytest.raises(TaskFailed, match="no task named 'other'"):
            ask(holdings.local.root, "other", {}, Kept())
        with pytest.raises(TaskFailed, match="unexpected keyword"):
            ask(holdings.local.root, "fail", {"of_a_later_version": 1}, Kept())


@pytest.mark.parametrize("ends", ["command", "node"])
def test_a_task_stops_when_nobody_waits_for_it_or_the_node_ends(
    holdings: Holdings, tasks: dict[str, Run], ends: str
) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def wait(_: Holdings, reporter: Reporter) -> dict[str, Any]:
        begun.set()
        try:
            while True:
                reporter.item(at=1)
        except TaskStopped:
            stopped.set()
            raise

    tasks["wait"] = wait
    control = _serving(holdings, tasks)
    command = socket.socket(socket.AF_UNIX)
    command.connect(str(holdings.local.root / NAME))
    command.sendall(b'{"task": "wait", "parameters": {}}\n')
    assert begun.wait(10)
    if ends == "command":
        command.close()
    else:
        control.close()
    assert stopped.wait(10)
    command.close()
    control.close()


def test_only_the_user_of_the_node_may_ask(holdings: Holdings) -> None:
    with closing(Control(holdings)):
        assert stat.S_IMODE(os.stat(holdings.local.root / NAME).st_mode) == 0o600
    assert not (holdings.local.root / NAME).exists()


def test_a_socket_that_a_killed_node_has_left_is_replaced(holdings: Holdings, tasks: dict[str, Run]) -> None:
    tasks["say"] = lambda holdings, reporter: {}
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(holdings.local.root / NAME))
    with closing(_serving(holdings, tasks)):
        assert ask(holdings.local.root, "say", {}, Kept()) == {}


@pytest.mark.parametrize(
    "request_line", [b"", b"\n", b"[]\n", b"{}\n", b'{"task": 1}\n', b"\xff\n", b"x" * (2 << 20)]
)
def test_a_request_that_makes_no_sense_costs_only_its_connection(
    holdings: Holdings, tasks: dict[str, Run], request_line: bytes
) -> None:
    tasks["say"] = lambda holdings, reporter: {}
    with closing(_serving(holdings, tasks)):
        with socket.socket(socket.AF_UNIX) as command:
            command.connect(str(holdings.local.root / NAME))
            try:
                command.sendall(request_line)
                command.shutdown(socket.SHUT_WR)
                answer = command.makefile("rb").read()
            except OSError:
                # The node closes while the rest of a request that is too long is on its way.
                answer = b""
        for line in answer.splitlines():
            assert json.loads(line)[0] == "failed"
        assert ask(holdings.local.root, "say", {}, Kept()) == {}


def test_a_folder_with_a_long_name_has_a_control_socket_too(tmp_path: Path, tasks: dict[str, Run]) -> None:
    folder = tmp_path / ("long" * 30)
    tasks["say"] = lambda holdings, reporter: {}
    with Holdings(folder) as holdings, closing(_serving(holdings, tasks)):
        assert ask(folder, "say", {}, Kept()) == {}


def test_an_archive_that_another_process_than_a_node_has_is_in_use(holdings: Holdings) -> None:
    with pytest.raises(StoreInUse):
        perform(holdings.local.root, "reindex", {}, Kept())


def test_a_folder_without_an_archive_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not the folder of an archive"):
        perform(tmp_path / "nothing", "reindex", {}, Kept())
    assert list(tmp_path.iterdir()) == []

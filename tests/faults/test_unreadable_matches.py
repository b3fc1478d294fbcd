"""A match that cannot be read costs itself: the others are handed out, and the error comes behind the last of them."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.apps.tools import run as run_app
from tests.cli.command import run, run_on_terminal
from tests.faults.test_endings import PENDING, Talk, encoded, faces, scripted, take

from dicomnet import Timeouts, aio
from dicomnet.dimse.codec import decode_command
from dicomnet.dimse.messages import C_CANCEL_RQ
from dicomnet.errors import DeadlineExceeded, ProtocolError, ServiceRefusal

STUDY_ROOT = "1.2.840.10008.5.1.4.1.2.2.1"
UNREADABLE = "the identifier of a C-FIND response cannot be read: "


def match(number: int) -> bytes:
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "STUDY"
    dataset.StudyInstanceUID = f"1.2.{number}"
    return encoded(dataset)


BAD = {
    "cut off": match(9)[:-3],
    "a length beyond the end": match(9) + b"\x20\0\x10\0\xff\xff\0\0ab",
    "noise": bytes(range(1, 60)),
}
ORDERS = {
    "between": ["good", "bad", "good"],
    "first": ["bad", "good", "good"],
    "last": ["good", "good", "bad"],
    "several": ["bad", "good", "bad", "bad", "good"],
    "alone": ["bad"],
}


def answering(order: list[str], bad: bytes | None, final: int | None = 0x0000) -> Any:
    def script(talk: Talk) -> None:
        for number, each in enumerate(order):
            talk.respond(PENDING, match(number) if each == "good" else bad)
        if final is not None:
            talk.respond(final)

    return script


def readable(order: list[str]) -> list[str]:
    return [f"1.2.{number}" for number, each in enumerate(order) if each == "good"]


@pytest.mark.parametrize("bad", [b"", b"\x20\0\x10\0\xff\0\0\0ab", bytes(range(1, 60)), None], ids=repr)
def test_findscu_exited_with_0_although_a_match_could_not_be_read(bad: bytes | None, tmp_path: Path) -> None:
    """It was logged, and left out. The tool has its identifiers in Implicit VR."""
    good = b"\x20\0\x0d\0\x06\0\0\x001.2.3\0"

    def script(talk: Talk) -> None:
        for data in (good, None if bad is None else bad or good, good):
            talk.respond(PENDING, data)
        talk.respond(0x0000)

    with scripted(script) as (port, _):
        done = run_app(
            "findscu", "127.0.0.1", str(port), "-S", "-k", "QueryRetrieveLevel=STUDY", cwd=tmp_path
        )
    is_readable = bad == b""
    assert done.returncode == (0 if is_readable else 1)
    assert done.stderr.count("UI [1.2.3]") == (3 if is_readable else 2)
    assert ("E: matches that could not be read: 1\n" in done.stderr) != is_readable


@faces
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("where", ORDERS)
def test_one_unreadable_match_ended_the_query(face: str, kind: str, where: str) -> None:
    order = ORDERS[where]
    found: list[Dataset] = []
    with (
        scripted(answering(order, BAD[kind])) as (port, _),
        pytest.raises(ProtocolError, match=re.escape(UNREADABLE)) as raised,
    ):
        take(face, port, lambda peer: peer.find("study"), found=found)
    assert [each.StudyInstanceUID for each in found] == readable(order)
    bad = order.count("bad")
    assert str(raised.value).endswith(f" (and {bad - 1} more)") == (bad > 1)


@faces
@pytest.mark.parametrize(("final", "error"), [(0xA700, ServiceRefusal), (None, DeadlineExceeded)])
def test_what_ends_the_query_itself_comes_first(face: str, final: int | None, error: type[Exception]) -> None:
    order = ORDERS["between"]
    found: list[Dataset] = []
    with scripted(answering(order, BAD["cut off"], final)) as (port, _), pytest.raises(error):
        take(face, port, lambda peer: peer.find("study"), found=found, timeouts=Timeouts(message=1))
    assert [each.StudyInstanceUID for each in found] == readable(order)


@pytest.mark.parametrize("command", ["find", "worklist"])
@pytest.mark.parametrize("kind", BAD)
def test_the_command_shows_the_others_and_fails(command: str, kind: str) -> None:
    order = ORDERS["several"]
    with scripted(answering(order, BAD[kind])) as (port, _):
        result = run(command, f"P@127.0.0.1:{port}")
    shown = [json.loads(line)["StudyInstanceUID"] for line in result.stdout.splitlines()]
    assert shown == readable(order)
    assert result.returncode == 1
    assert f"dicomnet {command}: {UNREADABLE}" in result.stderr
    assert result.stderr.endswith(" (and 2 more)\n")


ABSENT = "a pending C-FIND response has no identifier"


@faces
@pytest.mark.parametrize("where", ORDERS)
def test_a_pending_response_without_an_identifier_was_taken_for_the_end(face: str, where: str) -> None:
    """And its status for a refusal."""
    order = ORDERS[where]
    found: list[Dataset] = []
    with (
        scripted(answering(order, None)) as (port, _),
        pytest.raises(ProtocolError, match=re.escape(ABSENT)),
    ):
        take(face, port, lambda peer: peer.find("study"), found=found)
    assert [each.StudyInstanceUID for each in found] == readable(order)


@pytest.mark.parametrize("command", ["find", "worklist"])
def test_the_command_shows_what_has_an_identifier(command: str) -> None:
    order = ORDERS["between"]
    with scripted(answering(order, None)) as (port, _):
        result = run(command, f"P@127.0.0.1:{port}")
    assert [json.loads(line)["StudyInstanceUID"] for line in result.stdout.splitlines()] == readable(order)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"dicomnet {command}: {ABSENT}"


@pytest.mark.parametrize("command", ["find", "worklist"])
@pytest.mark.parametrize(
    ("where", "limit", "shown", "returncode"),
    [
        ("between", 2, 2, 1),
        ("first", 1, 1, 1),
        ("several", 1, 1, 1),
        ("several", 9, 2, 1),
        ("last", 2, 2, 0),
        ("alone", 1, 0, 1),
    ],
)
def test_the_command_fails_with_a_limit_too_where_a_match_before_that_cannot_be_read(
    command: str, where: str, limit: int, shown: int, returncode: int
) -> None:
    order = ORDERS[where]
    with scripted(answering(order, BAD["cut off"])) as (port, _):
        result = run(command, f"P@127.0.0.1:{port}", "--limit", str(limit))
    found = [json.loads(line)["StudyInstanceUID"] for line in result.stdout.splitlines()]
    assert found == readable(order)[:shown]
    assert result.returncode == returncode
    assert (UNREADABLE in result.stderr.splitlines()[-1]) if returncode else not result.stderr


@faces
@pytest.mark.parametrize("is_first", [True, False], ids=["before the limit", "behind it"])
def test_a_limit_cancels_the_query_and_raises_what_came_before(face: str, is_first: bool) -> None:
    """The final response waits for the C-CANCEL."""

    def script(talk: Talk) -> None:
        talk.peer.send(talk.response(PENDING, BAD["cut off"] if is_first else match(0)))
        talk.respond(PENDING, match(1))
        pdu = talk.peer.read_pdu()
        assert decode_command(pdu[12:])[0] is C_CANCEL_RQ
        talk.respond(0xFE00)

    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    found: list[Dataset] = []
    expected: AbstractContextManager[Any] = (
        pytest.raises(ProtocolError, match=re.escape(UNREADABLE)) if is_first else nullcontext()
    )
    with scripted(script) as (port, ended), expected:
        take(
            face,
            port,
            lambda peer: peer.find_identifier(identifier, STUDY_ROOT, limit=1 if is_first else 2),
            found=found,
        )
    assert [each.StudyInstanceUID for each in found] == (["1.2.1"] if is_first else ["1.2.0", "1.2.1"])
    assert ended == ["release"]


def test_the_table_has_the_others() -> None:
    order = ORDERS["between"]
    with scripted(answering(order, BAD["cut off"])) as (port, _):
        screen = run_on_terminal("find", f"P@127.0.0.1:{port}")
    assert all(uid in screen.text for uid in readable(order))
    assert screen.returncode == 1
    assert UNREADABLE in " ".join(screen.text.split())


def test_an_association_in_asyncio_yields_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """As `AE` does: the status without an identifier, and the error in the log."""
    order = ORDERS["several"]
    found: list[tuple[int, Any]] = []

    async def query(port: int) -> None:
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "STUDY"
        async with await aio.connect(f"P@127.0.0.1:{port}", [STUDY_ROOT]) as assoc:
            async for status, given in assoc.send_c_find(identifier, STUDY_ROOT):
                found.append((int(status.Status), given and given.StudyInstanceUID))

    with scripted(answering(order, BAD["cut off"])) as (port, _):
        asyncio.run(query(port))
    expected = [(PENDING, f"1.2.{number}" if each == "good" else None) for number, each in enumerate(order)]
    assert found == [*expected, (0, None)]
    assert sum(UNREADABLE in each for each in caplog.messages) == order.count("bad")

"""What is said of a failure names the object, and what came from the peer is called what it is."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.blocking.test_lanes import Store, store_blocking, store_in_loop
from tests.blocking.test_peer import scripted, write_file
from tests.retrieving import ae_scp, aio_scp, image
from tests.scripted import Arrived
from tests.sockets import CT_IMAGE_STORAGE, message_pdus

from dicomnet import Peer
from dicomnet.dimse.messages import C_ECHO_RSP, C_FIND_RSP, C_STORE_RSP, Message, MessageType
from dicomnet.encoding.transfer_syntaxes import Transcoding
from dicomnet.errors import NoAcceptedContext
from dicomnet.exchange.contexts import substitute_context
from dicomnet.exchange.results import LocalFailure
from dicomnet.upper_layer.negotiation import Agreement, NegotiatedContext


def without(keyword: str) -> Dataset:
    made = image(7)
    delattr(made, keyword)
    return made


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no instance": (
        lambda folder: without("SOPInstanceUID"),
        "object 1: the data set has no SOP Instance UID",
    ),
    "no class": (
        lambda folder: without("SOPClassUID"),
        r"object 1 \(1\.2\.3\.7\): the data set has no SOP Class UID",
    ),
    "nothing": (lambda folder: Dataset(), "object 1: the data set has no SOP Class UID"),
    "no file": (
        lambda folder: folder / "none",
        "object 1: /.*/none cannot be read: No such file or directory",
    ),
    "text": (lambda folder: text(folder), "object 1: /.*/text: not a DICOM file"),
    "None": (lambda folder: None, "object 1: a NoneType is not an object that can be sent"),
}


def text(folder: Path) -> Path:
    (folder / "text").write_text("text")
    return folder / "text"


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("scp", [ae_scp, aio_scp])
def test_a_failed_sub_operation_named_no_object(
    scp: Any, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others get through."""
    make, words = BAD[kind]

    def get(event: Any) -> Iterator[Any]:
        yield 2
        yield 0xFF00, make(tmp_path)
        yield 0xFF00, image(8)

    with scp({"C-GET": get}) as port, Peer(f"127.0.0.1:{port}") as peer:
        found = list(peer.get("patient", PatientID="1", on_object=lambda received: None))
    assert (found[-1].completed, found[-1].failed) == (1, 1)
    (line,) = [each for each in caplog.messages if "sub-operation failed" in each]
    assert re.fullmatch(f"a sub-operation failed, {words}", line), line


@pytest.fixture(params=[store_blocking, store_in_loop])
def store(request: pytest.FixtureRequest) -> Store:
    """Stores with one peer or the other, and gives the results."""
    chosen: Store = request.param
    return chosen


@pytest.mark.parametrize(
    ("kind", "shift", "told"),
    [
        (C_FIND_RSP, 0, "C-STORE 1, CTImageStorage, instance 1.2.3.1: a C-FIND-RSP came: 0x0000 (success)"),
        (C_ECHO_RSP, 0, "C-STORE 1, CTImageStorage, instance 1.2.3.1: a C-ECHO-RSP came: 0x0000 (success)"),
        (C_STORE_RSP, 7, "a C-STORE-RSP for Message ID 8 came: 0x0000 (success)"),
    ],
)
def test_what_answers_nothing_was_logged_as_the_answer(
    store: Store,
    kind: MessageType,
    shift: int,
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The operation goes on, and its answer is logged when it comes."""
    caplog.set_level(logging.INFO, "dicomnet")

    def react(request: Arrived) -> bytes:
        number = request.command["MessageID"] + shift
        stray = Message(kind, {"MessageIDBeingRespondedTo": number, "Status": 0}, request.context_id)
        return message_pdus(stray) + request.response()

    with scripted(react) as (port, _):
        (result,) = store(port, [write_file(tmp_path, "1.2.3.1")])
    assert result.is_stored
    lines = [each.partition(": ")[2] for each in caplog.messages if " came" in each or "was answered" in each]
    assert len(lines) == 2
    assert lines[0] == told
    assert lines[1].startswith("C-STORE 1, CTImageStorage, instance 1.2.3.1 was answered: 0x0000 (success)")
    ignored = f"ignored a {kind.name} that answers no request (Message ID {1 + shift})"
    assert any(each.endswith(f": {ignored}") for each in caplog.messages)


@pytest.mark.parametrize(
    ("uid", "path", "words"),
    [
        ("1.2.3", "in/staging/7-1", "1.2.3: in/staging/7-1: No space left on device"),
        ("1.2.3", "in/1.2.3.dcm", "in/1.2.3.dcm: No space left on device"),
        ("1.2.3", "", "1.2.3: No space left on device"),
        ("1.2.3", "in", "1.2.3: in: No space left on device"),
    ],
)
def test_a_local_failure_names_the_object(uid: str, path: str, words: str) -> None:
    assert str(LocalFailure(uid, OSError(28, "No space left on device"), path)) == words


@pytest.mark.parametrize(("syntax", "is_advised"), [("1.2.3.4.5", False), ("1.2.840.10008.1.2.5", True)])
def test_an_unknown_transfer_syntax_was_said_to_be_one_that_can_be_decompressed(
    syntax: str, is_advised: bool
) -> None:
    native = "1.2.840.10008.1.2.1"
    context = NegotiatedContext(1, CT_IMAGE_STORAGE, 0, native, True, False, (native,))
    agreement = Agreement({1: context}, 16384, 1, 1, (), ())
    with pytest.raises(NoAcceptedContext) as caught:
        substitute_context(agreement, (CT_IMAGE_STORAGE, syntax), "1.2.3", Transcoding.NEVER)
    assert ("if-needed" in str(caught.value)) is is_advised
    assert syntax in str(caught.value)

"""Values of files and of peers that break the standard's rules: each costs its own object or request, and nothing else.

Messages are laid out by hand after PS3.7 section 6.3.1, so that they share no fault with the code that reads them.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.apps.tools import command
from tests.associations import associated, ct_image, serving_ae
from tests.interop.peers import aio_server
from tests.retrieving import GET, MOVE, PENDING, SCPS, SCUS, counts, destination, image, retrieve_by_ae
from tests.retrieving import answering as handler_for
from tests.sockets import (
    CT_IMAGE_STORAGE,
    IMPLICIT_VR_LE,
    PATIENT_ROOT_FIND,
    QUERY,
    RELEASE_RP,
    RELEASE_RQ,
    VERIFICATION,
    RawPeer,
    acceptance_of,
    raw_server,
    request_pdu,
)
from tests.support import dicomnet, run_tool, stored

from dicomnet import Peer, StoreResult, aio, build_context, evt
from dicomnet.archive.node import Node
from dicomnet.datasets.codec import encode

from .objects import EXPLICIT, file_of, uid

PRINTER = "1.2.840.10008.5.1.1.16"
MPPS = "1.2.840.10008.3.1.2.3.3"
COMMITMENT = "1.2.840.10008.1.20.1"
LONG = b"1.2." + b"3" * 61
# Kept by the library for its handlers, where it could be a single UID; refused by the node in any case.
BAD_UIDS = {
    "65 characters": LONG,
    "2000 characters": b"1." * 999 + b"34",
    "not ASCII": b"1.2.\xe9\xfc",
    "UTF-8": "1.2.3\N{ZERO WIDTH SPACE}".encode(),
    "leading space": b" 1.2.3",
    "backslash": b"1.2.3\\1.2.4",
    "letters": b"1.2.abc",
    "dots": b"1..2",
    "NUL inside": b"1.2\0.3x",
    "path": b"../../../x",
}
NO_UIDS = {**BAD_UIDS, "empty": b"", "blank": b"  ", "absent": None}
SURE = {
    name: value for name, value in NO_UIDS.items() if name in ("65 characters", "not ASCII", "UTF-8", "empty")
}
NAMES = {
    "AffectedClass": 0x02,
    "RequestedClass": 0x03,
    "Field": 0x100,
    "ID": 0x110,
    "RespondedTo": 0x120,
    "Destination": 0x600,
    "Priority": 0x700,
    "DataSetType": 0x800,
    "Status": 0x900,
    "Offending": 0x901,
    "Comment": 0x902,
    "AffectedInstance": 0x1000,
    "RequestedInstance": 0x1001,
    "EventType": 0x1002,
    "AttributeList": 0x1005,
    "ActionType": 0x1008,
    "Completed": 0x1021,
    "Failed": 0x1022,
    "Warning": 0x1023,
    "OriginatorID": 0x1031,
}


def element(tag: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


def pdus(context_id: int, data: bytes | None, more: bytes = b"", **given: int | bytes | None) -> bytes:
    """A message: elements of the command set by name, and others encoded already; a data set or None."""
    elements = {**given, "DataSetType": 0x0101 if data is None else 1}
    body = b"".join(
        element(NAMES[name], value if isinstance(value, bytes) else struct.pack("<H", value))
        for name, value in sorted(elements.items(), key=lambda pair: NAMES[pair[0]])
        if value is not None
    )
    parts = [(3, element(0, struct.pack("<L", len(body))) + body + more)] + (
        [] if data is None else [(2, data)]
    )
    return b"".join(
        struct.pack(">BBLLBB", 4, 0, len(part) + 6, len(part) + 2, context_id, control) + part
        for control, part in parts
    )


class Answered(NamedTuple):
    """A response: the values of its command set by tag."""

    values: dict[int, bytes]

    @classmethod
    def of(cls, pdu: bytes) -> Answered:
        assert pdu[:1] == b"\x04", pdu[:10]
        data, at, values = pdu[12:], 0, {}
        while at < len(data):
            group, number, length = struct.unpack_from("<HHL", data, at)
            values[group << 16 | number] = data[at + 8 : at + 8 + length]
            at += 8 + length
        return cls(values)

    @property
    def status(self) -> int:
        return int.from_bytes(self.values[0x900], "little")


# -- who is asked


@contextlib.contextmanager
def node(folder: Path) -> Iterator[int]:
    made = Node(folder / "store", address=("127.0.0.1", 0))
    made.start()
    try:
        yield made.address[1]
    finally:
        made.shutdown()


CONTEXTS = (VERIFICATION, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND, PRINTER, MPPS, COMMITMENT)


def reply(event: Any) -> tuple[int, None]:
    return 0x0000, None


@contextlib.contextmanager
def ae(folder: Path) -> Iterator[int]:
    handlers = [
        (evt.EVT_C_STORE, lambda event: 0x0000),
        (evt.EVT_C_FIND, lambda event: iter(())),
        *(
            (getattr(evt, f"EVT_N_{name}"), reply)
            for name in ("GET", "SET", "ACTION", "CREATE", "EVENT_REPORT")
        ),
        (evt.EVT_N_DELETE, lambda event: 0x0000),
    ]
    with serving_ae(handlers, uids=CONTEXTS) as server:
        yield server.server_address[1]


@contextlib.contextmanager
def in_asyncio(folder: Path) -> Iterator[int]:
    async def find(request: Any) -> Any:
        nothing: tuple[Any, ...] = ()
        for each in nothing:
            yield each

    normalized = {f"N-{name}": reply for name in ("GET", "SET", "ACTION", "CREATE", "EVENT-REPORT")}
    handlers: dict[str, Any] = {"C-STORE": lambda request: 0x0000, "C-FIND": find, **normalized}
    with aio_server(CONTEXTS, {**handlers, "N-DELETE": lambda request: 0x0000}) as port:
        yield port


ALL = {"node": node, "AE": ae, "aio": in_asyncio}
LIBRARY = {"AE": ae, "aio": in_asyncio}
acceptors = pytest.mark.parametrize("acceptor", ALL.values(), ids=ALL.keys())
libraries = pytest.mark.parametrize("acceptor", LIBRARY.values(), ids=LIBRARY.keys())
Acceptor = Callable[[Path], contextlib.AbstractContextManager[int]]


@contextlib.contextmanager
def raw(port: int, *uids: str) -> Iterator[RawPeer]:
    """An association for verification with context 1 and what else is asked for; it must be there at the end."""
    with RawPeer.connect(port) as peer:
        proposed = ((2 * number + 1, each) for number, each in enumerate((VERIFICATION, *uids)))
        peer.send(request_pdu(*proposed))
        assert peer.read_pdu()[0] == 2
        yield peer
        peer.send(pdus(1, None, AffectedClass=VERIFICATION.encode(), Field=0x30, ID=77))
        assert Answered.of(peer.read_pdu()).status == 0x0000
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP


def store_rq(context_id: int = 3, data: bytes = b"", **given: Any) -> bytes:
    uids = {"AffectedClass": CT_IMAGE_STORAGE.encode(), "AffectedInstance": b"1.2"}
    values: dict[str, Any] = {"Field": 1, "ID": 5, "Priority": 0, **uids, **given}
    return pdus(context_id, data or element(0x00080018, b"1.2"), **values)


def echoed(answer: Answered, tag: int, sent: bytes | None) -> bool:
    """Whether a response repeats a value as it came; one without content may be left out."""
    repeated = answer.values.get(tag, b"").rstrip(b"\0 ")
    return repeated == (sent or b"").rstrip(b"\0 ")


# -- requests that reach us


@acceptors
def test_a_bad_instance_uid_in_a_request_ended_the_association(acceptor: Acceptor, tmp_path: Path) -> None:
    """The request is answered with 0117H (PS3.7 Annex C), and its UID is repeated as it came."""
    with acceptor(tmp_path) as port, raw(port, CT_IMAGE_STORAGE) as peer:
        for name, value in NO_UIDS.items():
            peer.send(store_rq(AffectedInstance=value))
            answer = Answered.of(peer.read_pdu())
            must_refuse = acceptor is node or name in SURE
            assert answer.status == 0x0117 or not must_refuse, name
            assert echoed(answer, 0x1000, value), name


@acceptors
def test_bad_requests_among_outstanding_ones_are_answered_in_order(
    acceptor: Acceptor, tmp_path: Path
) -> None:
    """Those that came together with them are performed as if they were alone."""
    with acceptor(tmp_path) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, VERIFICATION), (3, CT_IMAGE_STORAGE), window=16))
        assert peer.read_pdu()[0] == 2
        sent = b""
        for number in range(3):
            instance = uid(5, number).encode()
            sent += store_rq(ID=3 * number, AffectedInstance=instance, data=data_set_of(number))
            sent += store_rq(ID=3 * number + 1, AffectedInstance=[LONG, b"", b"\xe9"][number])
            sent += store_rq(ID=3 * number + 2, AffectedClass=[LONG, b"", b"\xe9"][number])
        peer.send(sent)
        answers = [Answered.of(peer.read_pdu()) for _ in range(9)]
    assert [int.from_bytes(each.values[0x120], "little") for each in answers] == list(range(9))
    assert [each.status for each in answers] == [0x0000, 0x0117, 0x0122] * 3


def data_set_of(number: int) -> bytes:
    """The data set of an object in Implicit VR Little Endian."""
    encoded = encode(dcmread(BytesIO(file_of(5, number))), True, True)
    assert encoded is not None
    return encoded


@acceptors
def test_a_bad_sop_class_in_a_request_ended_the_association(acceptor: Acceptor, tmp_path: Path) -> None:
    with acceptor(tmp_path) as port, raw(port, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND) as peer:
        for name, value in NO_UIDS.items():
            find: dict[str, Any] = {"AffectedClass": value, "Field": 0x20, "ID": 6, "Priority": 0}
            echo: dict[str, Any] = {"AffectedClass": value, "Field": 0x30, "ID": 7}
            for sent in (store_rq(AffectedClass=value), pdus(5, QUERY, **find), pdus(1, None, **echo)):
                peer.send(sent)
                answer = Answered.of(peer.read_pdu())
                assert answer.status == 0x0122, name
                assert echoed(answer, 0x02, value), name


@pytest.mark.parametrize("field", [0x0100, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150], ids=hex)
@libraries
def test_a_normalized_request_without_its_uids_ended_the_association(
    acceptor: Acceptor, field: int, tmp_path: Path
) -> None:
    prefix = "Affected" if field in (0x0100, 0x0140) else "Requested"
    sop_class = {0x0100: COMMITMENT, 0x0130: COMMITMENT, 0x0110: PRINTER}.get(field, MPPS).encode()
    more = {0x0100: {"EventType": 1}, 0x0130: {"ActionType": 1}}.get(field, {})
    data = element(0x00400241, b"AE") if field in (0x0120, 0x0140) else None
    with acceptor(tmp_path) as port, raw(port, sop_class.decode()) as peer:

        def ask(**given: bytes | None) -> Answered:
            values: dict[str, Any] = {
                f"{prefix}Class": sop_class,
                f"{prefix}Instance": b"1.2.3",
                **more,
                **given,
            }
            peer.send(pdus(3, data, Field=field, ID=9, **values))
            return Answered.of(peer.read_pdu())

        for name, value in SURE.items():
            is_optional = field == 0x0140 and not value
            assert ask(**{f"{prefix}Instance": value}).status == (0x0110 if is_optional else 0x0117), name
            answer = ask(**{f"{prefix}Class": value})
            assert answer.status == 0x0118, name
            assert echoed(answer, 0x02, value), name
        assert ask(**{f"{prefix}Instance": None}).status in (0x0117, 0x0110)
        assert ask(**{f"{prefix}Class": None}).status == 0x0118


SURPLUS = {
    "Orthanc's list": element(0x00080058, b"1.2.3\\1.2.4"),
    "of a data set": element(0x00100010, b"Surplus^One") + element(0x7FE00010, bytes(100)),
    "a group length": element(0x00020000, bytes(4)),
    "unknown": element(0x00005678, b"x" * 33),
    "retired": element(0x00000001, bytes(4)) + element(0x00000200, b"INITIATOR"),
    "originator ID of four bytes": element(0x00001031, bytes(4)),
    "originator ID of one byte": struct.pack("<HHL", 0, 0x1031, 1) + b"\1",
    "priority again": element(0x00000700, bytes(2)),
    "an unknown one twice": element(0x00005678, b"a") + element(0x00005678, b"b"),
    "title with a NUL": element(0x00001030, b"A\0B"),
    "title too long": element(0x00001030, b"A" * 300),
    "title that is not ASCII": element(0x00001030, b"\xc4\xff"),
}


@acceptors
def test_a_surplus_in_a_command_set_ended_the_association(acceptor: Acceptor, tmp_path: Path) -> None:
    with acceptor(tmp_path) as port, raw(port, CT_IMAGE_STORAGE) as peer:
        peer.send(store_rq())
        usual = Answered.of(peer.read_pdu()).status
        for name, surplus in SURPLUS.items():
            peer.send(store_rq(more=surplus))
            assert Answered.of(peer.read_pdu()).status == usual, name


@acceptors
def test_a_bad_value_of_a_mandatory_element_ended_the_association(acceptor: Acceptor, tmp_path: Path) -> None:
    """Each request gets a status (PS3.7 Annex C: 0212H, mistyped argument), and is not performed."""
    cases: list[dict[str, Any]] = [
        {"more": element(0x1000, b"1.2.4"), "AffectedInstance": b"1.2.3"},
    ]
    with acceptor(tmp_path) as port, raw(port, CT_IMAGE_STORAGE) as peer:
        for case in cases:
            peer.send(store_rq(**case))
            assert Answered.of(peer.read_pdu()).status in (0x0212, 0x0117), case


@acceptors
def test_a_request_without_a_priority_was_refused(acceptor: Acceptor, tmp_path: Path) -> None:
    """It has no effect: each is taken as MEDIUM."""
    cases: list[dict[str, Any]] = [
        {"Priority": None},
        {"Priority": b""},
        {"Priority": bytes(4)},
        {"Priority": 7},
        {"more": element(0x0700, b"\1\0")},
    ]
    with acceptor(tmp_path) as port, raw(port, CT_IMAGE_STORAGE, PATIENT_ROOT_FIND) as peer:
        peer.send(store_rq(3))
        usual = Answered.of(peer.read_pdu()).status
        for case in [*cases, *cases]:
            peer.send(store_rq(3, **case))
            assert Answered.of(peer.read_pdu()).status == usual != 0x0212, case
            query = {"Field": 0x20, "ID": 5, "AffectedClass": PATIENT_ROOT_FIND.encode(), "Priority": 0}
            peer.send(pdus(5, QUERY, **{**query, **case}))
            status = Answered.of(peer.read_pdu()).status
            while status in (0xFF00, 0xFF01):
                status = Answered.of(peer.read_pdu()).status
            assert status != 0x0212, case


UNKNOWN_FIELDS = [0x0000, 0x0002, 0x0055, 0x0077, 0x0FFE, 0x7FFF]


@acceptors
@pytest.mark.parametrize("data", [None, b"", element(0x00100020, b"P1") * 9], ids=["alone", "empty", "data"])
def test_an_unknown_command_field_ended_the_association(
    acceptor: Acceptor, data: bytes | None, tmp_path: Path
) -> None:
    """A request is answered with 0211H (PS3.7 Annex C.5), an unknown response is ignored; the next is served."""
    with acceptor(tmp_path) as port, raw(port, CT_IMAGE_STORAGE) as peer:
        peer.send(store_rq(3))
        usual = Answered.of(peer.read_pdu()).status
        for number, field in enumerate(UNKNOWN_FIELDS):
            peer.send(pdus(3, data, Field=field, ID=50 + number, AffectedClass=CT_IMAGE_STORAGE.encode()))
            answer = Answered.of(peer.read_pdu())
            assert answer.status == 0x0211
            assert answer.values[0x100] == struct.pack("<H", field | 0x8000)
            assert answer.values[0x120] == struct.pack("<H", 50 + number)
            peer.send(pdus(3, data, Field=field | 0x8000, RespondedTo=5, Status=0))
            peer.send(pdus(3, data, Field=field | 0x8000))
            peer.send(store_rq(3))
            assert Answered.of(peer.read_pdu()).status == usual


@acceptors
def test_a_flood_of_unknown_responses_ends_the_association(acceptor: Acceptor, tmp_path: Path) -> None:
    with acceptor(tmp_path) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((3, CT_IMAGE_STORAGE)))
        assert peer.read_pdu()[0] == 2
        peer.send(pdus(3, None, Field=0x8055, RespondedTo=5, Status=0) * 17)
        assert peer.read_pdu()[0] == 7


@libraries
def test_a_bad_list_of_tags_asks_for_nothing(acceptor: Acceptor, tmp_path: Path) -> None:
    """An N-GET without its list would ask for everything."""
    with acceptor(tmp_path) as port, raw(port, PRINTER) as peer:
        for value in (bytes(2), bytes(6), bytes(10)):
            values = {"RequestedClass": PRINTER.encode(), "RequestedInstance": b"1.2", "AttributeList": value}
            peer.send(pdus(3, None, Field=0x110, ID=1, **values))
            assert Answered.of(peer.read_pdu()).status == 0x0212


@acceptors
def test_a_request_that_cannot_be_answered_still_ends_the_association(
    acceptor: Acceptor, tmp_path: Path
) -> None:
    for value in (None, b"", bytes(4)):
        with acceptor(tmp_path) as port, RawPeer.connect(port) as peer:
            peer.send(request_pdu((1, VERIFICATION), (3, CT_IMAGE_STORAGE)))
            assert peer.read_pdu()[0] == 2
            peer.send(store_rq(ID=value))
            assert peer.read_pdu()[0] == 7


# -- responses that we receive


def answering(respond: Callable[[bytes, int], bytes]) -> Callable[[RawPeer], None]:
    """Serve one association: what is sent for each message, given its command set and context ID."""

    def serve(peer: RawPeer) -> None:
        peer.send(acceptance_of(peer.read_pdu()))
        command = b""
        while (pdu := peer.read_pdu())[:1] == b"\x04":
            if pdu[11] & 1:
                command = pdu[12:]
            has_data = Answered.of(pdu).values[0x800] != b"\1\1" if pdu[11] & 1 else False
            if not has_data and pdu[11] & 2:
                peer.send(respond(command, pdu[10]))
        if pdu[:1] == b"\x05":
            peer.send(RELEASE_RP)

    return serve


RESPONSES: dict[str, dict[str, Any]] = {
    **{f"instance: {name}": {"AffectedInstance": value} for name, value in NO_UIDS.items()},
    **{f"class: {name}": {"AffectedClass": value} for name, value in NO_UIDS.items()},
    **{f"surplus: {name}": {"more": value} for name, value in SURPLUS.items()},
    "offending element of six bytes": {"Offending": bytes(6)},
    "comment in UTF-8": {"Comment": "Größe".encode() * 40},
    "failed list": {"more": element(0x00080058, b"1.2.3")},
}


def store_rsp(case: dict[str, Any]) -> Callable[[bytes, int], bytes]:
    values = {"AffectedClass": CT_IMAGE_STORAGE.encode(), "AffectedInstance": b"1.2.3.4", "Status": 0xB000}
    return lambda command, context_id: pdus(
        context_id, None, **{**values, "Field": 0x8001, "RespondedTo": 1, **case}
    )


@pytest.mark.parametrize("case", RESPONSES.values(), ids=RESPONSES.keys())
def test_a_bad_value_in_a_response_ended_the_association(case: dict[str, Any]) -> None:
    with raw_server(answering(store_rsp(case))) as port:
        with associated(port, contexts=[build_context(CT_IMAGE_STORAGE)]) as assoc:
            assert assoc.send_c_store(ct_image()).Status == 0xB000
            assert assoc.is_established

        async def run() -> int:
            async with await aio.connect(f"A@127.0.0.1:{port}", [CT_IMAGE_STORAGE]) as opened:
                status = await opened.send_c_store(ct_image())
                assert opened.is_established
                return int(status.Status)

        assert asyncio.run(run()) == 0xB000


@pytest.mark.parametrize("value", [LONG, b"1.2.\xe9", b"x"], ids=["long", "not ASCII", "letters"])
def test_the_instance_that_a_peer_created_is_told_as_it_came(value: bytes) -> None:
    def respond(command: bytes, context_id: int) -> bytes:
        return pdus(context_id, None, Field=0x8140, RespondedTo=1, Status=0, AffectedInstance=value)

    with raw_server(answering(respond)) as port:
        with associated(port, contexts=[build_context(MPPS)]) as assoc:
            status, _ = assoc.send_n_create(Dataset(), MPPS, None)
            assert status.AffectedSOPInstanceUID == value.decode("latin-1")

        async def run() -> str:
            async with await aio.connect(f"A@127.0.0.1:{port}", [MPPS]) as opened:
                status, _ = await opened.send_n_create(Dataset(), MPPS, None)
                return str(status.AffectedSOPInstanceUID)

        assert asyncio.run(run()) == value.decode("latin-1")


@pytest.mark.parametrize("value", [b"1.2.3\\1.2.4", b"1.2.3", b"1.2.3\\" + LONG, b"\xe9"], ids=repr)
def test_a_failed_list_in_the_command_set_ended_the_association(value: bytes, tmp_path: Path) -> None:
    """Orthanc 1.10.1 puts it there; it says what the Identifier would."""

    def respond(command: bytes, context_id: int) -> bytes:
        counts = {"Completed": 3, "Failed": 1, "Warning": 0}
        more = element(0x00080058, value)
        return pdus(context_id, None, more, Field=0x8010, RespondedTo=1, Status=0xB000, **counts)

    with raw_server(answering(respond)) as port:
        with Peer(f"A@127.0.0.1:{port}") as peer:
            *_, last = peer.get("study", to=tmp_path / "blocking", StudyInstanceUID="1.2")

        async def run() -> Any:
            async with aio.Peer(f"A@127.0.0.1:{port}") as opened:
                async for progress in opened.get("study", to=tmp_path / "aio", StudyInstanceUID="1.2"):
                    found = progress
                return found

        for progress in (last, asyncio.run(run())):
            assert progress.failed == 1
            assert progress.failed_uids == tuple(value.decode("latin-1").split("\\"))


# -- sub-operations


@pytest.mark.parametrize("scu", SCUS.values(), ids=SCUS.keys())
def test_a_bad_uid_in_a_sub_operation_ended_the_retrieval(scu: Any) -> None:
    """As the requestor of a C-GET: each object is answered, and the final response is heard."""
    statuses: list[int] = []
    waiting = list(SURE.values())

    def respond(command: bytes, context_id: int) -> bytes:
        answer = Answered.of(bytes(12).replace(b"\0", b"\4", 1) + command)
        if 0x900 in answer.values:
            statuses.append(answer.status)
        if waiting:
            context_id = contexts[CT_IMAGE_STORAGE]
            return store_rq(context_id, AffectedInstance=waiting.pop(), ID=10 + len(waiting))
        return pdus(contexts[GET], None, Field=0x8010, RespondedTo=1, Status=0xA702, Failed=len(SURE))

    contexts = {GET: 1, CT_IMAGE_STORAGE: 5}
    seen: list[str] = []

    def store(instance: str) -> int:
        seen.append(instance)
        return 0

    with raw_server(answering_with_roles(respond, contexts)) as port:
        responses = scu(port, "C-GET", store)
    assert [each.status for each in responses] == [0xA702]
    assert statuses == [0x0117] * len(SURE)
    assert seen == []


def answering_with_roles(
    respond: Callable[[bytes, int], bytes], contexts: dict[str, int]
) -> Callable[[RawPeer], None]:
    """As `answering`, with the role of SCP for the requestor's storage; tells which context has which UID."""
    serve = answering(respond)

    def learn(peer: RawPeer) -> None:
        read, send = peer.read_pdu, peer.send

        def first_send(data: bytes) -> None:
            uid_ = CT_IMAGE_STORAGE.encode()
            role = struct.pack(">BBHH", 0x54, 0, len(uid_) + 4, len(uid_)) + uid_ + b"\0\1"
            at = data.rindex(b"\x50\0", 0, data.rindex(b"1.2.3"))
            user = data[at + 4 :] + role
            body = data[6:at] + b"\x50\0" + len(user).to_bytes(2, "big") + user
            peer.send = send  # type: ignore[method-assign]
            send(data[:2] + len(body).to_bytes(4, "big") + body)

        def first_read() -> bytes:
            pdu = read()
            at = 74
            while at < len(pdu):
                kind, length = pdu[at], int.from_bytes(pdu[at + 2 : at + 4], "big")
                content = pdu[at + 4 : at + 4 + length]
                if kind == 0x20:
                    contexts[content[8 : 8 + content[7]].decode()] = content[0]
                at += 4 + length
            peer.read_pdu = read  # type: ignore[method-assign]
            return pdu

        peer.read_pdu, peer.send = first_read, first_send  # type: ignore[method-assign]
        serve(peer)

    return learn


@pytest.mark.parametrize("scp", SCPS.values(), ids=SCPS.keys())
def test_a_bad_move_destination_is_an_unknown_one(scp: Any) -> None:
    def moved(event: Any) -> Iterator[Any]:
        yield "127.0.0.1", 1
        yield 0

    with scp({"C-MOVE": moved}) as port, RawPeer.connect(port) as peer:
        peer.send(request_pdu((1, MOVE)))
        assert peer.read_pdu()[0] == 2
        for title in (b"A" * 17, b"A" * 300, b"\xc4\xff", b"A\\B", b"A\0B", b"A\nB"):
            values: dict[str, Any] = {
                "AffectedClass": MOVE.encode(),
                "ID": 3,
                "Priority": 0,
                "Destination": title,
            }
            peer.send(pdus(1, QUERY, Field=0x21, **values))
            assert Answered.of(peer.read_pdu()).status == 0xA801, title
        for missing in (None, b"", b"  "):
            values = {"AffectedClass": MOVE.encode(), "ID": 3, "Priority": 0, "Destination": missing}
            peer.send(pdus(1, QUERY, Field=0x21, **values))
            assert Answered.of(peer.read_pdu()).status == 0x0212
        peer.send(RELEASE_RQ)
        assert peer.read_pdu() == RELEASE_RP


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("service", ["C-GET", "C-MOVE"])
@pytest.mark.parametrize("scp", SCPS.values(), ids=SCPS.keys())
def test_a_bad_uid_of_an_object_costs_one_sub_operation(scp: Any, service: str, tmp_path: Path) -> None:
    """As the performer: data sets and files with bad UIDs among good ones, which arrive."""
    bad_files = []
    for number, name in enumerate(
        ("instance too long", "class not ASCII", "syntax too long", "class of words")
    ):
        bad_files.append(folder_with(tmp_path / str(number), replace=FILES[name]) / "2b.dcm")
    bad = [image(number) for number in range(10, 14)]
    for dataset, value in zip(bad, (LONG.decode(), "1.2.é", "", ["1.2", "1.3"]), strict=True):
        with warnings.catch_warnings(action="ignore"):
            dataset.SOPInstanceUID = value

    def parts(request: Any) -> Iterator[Any]:
        yield len(bad_files) + len(bad) + 2
        yield PENDING, image(1)
        for each in (*bad_files, *bad):
            yield PENDING, each
        yield PENDING, image(2)

    arrived: list[str] = []

    def take(instance: str) -> int:
        arrived.append(instance)
        return 0

    with destination(take) as to, scp(handler_for(service, parts, to)) as port:
        last = retrieve_by_ae(port, service, take)[-1]
    assert last.status == 0xB000
    assert counts(last) == (2, 8, 0)
    assert arrived == ["1.2.3.1", "1.2.3.2"]


# -- files and data sets that are to be sent


def folder_with(folder: Path, **bad: Any) -> Path:
    """Four good files, and one among them whose data set and file meta information differ in what is said."""
    folder.mkdir(parents=True)
    for number in range(1, 5):
        (folder / f"{number}.dcm").write_bytes(file_of(7, number))
    content = file_of(7, 99)
    for old, new in bad["replace"]:
        assert content.count(old) >= 1
        content = _replaced(content, old, new)
    (folder / "2b.dcm").write_bytes(content)
    return folder


def _replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the values of explicit VR elements of VR UI."""
    old, new = (each + b"\0" * (len(each) % 2) for each in (old, new))
    header = b"UI" + struct.pack("<H", len(old)) + old
    return content.replace(header, b"UI" + struct.pack("<H", len(new)) + new)


INSTANCE = uid(7, 99).encode()
FILES = {
    "instance too long": [(INSTANCE, LONG)],
    "instance not ASCII": [(INSTANCE, b"1.2.\xe9")],
    "instance of several": [(INSTANCE, b"1.2\\1.3")],
    "instance with a control character": [(INSTANCE, b"1.2\n3")],
    "class too long": [(CT_IMAGE_STORAGE.encode(), LONG)],
    "class not ASCII": [(CT_IMAGE_STORAGE.encode(), b"1.2.\xff")],
    "class of several": [(CT_IMAGE_STORAGE.encode(), CT_IMAGE_STORAGE.encode() + b"\\1.2")],
    "class with a space": [(CT_IMAGE_STORAGE.encode(), CT_IMAGE_STORAGE.replace(".", ". ", 1).encode())],
    "class of words": [(CT_IMAGE_STORAGE.encode(), b"CT Image")],
    "syntax too long": [(EXPLICIT.encode(), LONG)],
    "syntax not ASCII": [(EXPLICIT.encode(), b"\xe4\xf6")],
    "syntax of several": [(EXPLICIT.encode(), EXPLICIT.encode() + b"\\1.2")],
    "syntax of words": [(EXPLICIT.encode(), b"Explicit")],
    "everything": [(INSTANCE, LONG), (CT_IMAGE_STORAGE.encode(), b"\xe9"), (EXPLICIT.encode(), LONG)],
}
files = pytest.mark.parametrize("replace", FILES.values(), ids=FILES.keys())


def four_of_five(results: list[StoreResult]) -> None:
    assert [result.is_stored for result in results] == [True, True, False, True, True]
    assert results[2].comment
    assert not results[2].is_skipped


@files
def test_a_bad_uid_of_a_file_ended_the_store(replace: Any, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", replace=replace)
    with node(tmp_path) as port:
        for jobs in (1, 2):
            with Peer(f"N@127.0.0.1:{port}", jobs=jobs) as peer:
                four_of_five(sorted(peer.store([folder]), key=lambda result: result.path))

        async def run() -> list[StoreResult]:
            async with aio.Peer(f"N@127.0.0.1:{port}") as opened:
                return [result async for result in opened.store([folder])]

        four_of_five(sorted(asyncio.run(run()), key=lambda result: result.path))
    assert len(stored(tmp_path / "store")) == 4


def test_a_bad_uid_of_a_file_ended_the_command(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "in", replace=FILES["everything"])
    with node(tmp_path) as port:
        done = run_tool(dicomnet("store", f"N@127.0.0.1:{port}", folder))
        again = run_tool(command("dicomnet", "storescu", "-cx", "127.0.0.1", str(port), folder))
    assert done.returncode == 1
    assert "sent 4" in done.stdout
    assert "Traceback" not in done.stderr + again.stderr


BAD_OBJECTS: dict[str, Any] = {
    "long": LONG.decode(),
    "not ASCII": "1.2.é",
    "wide": "1.2.\N{SNOWMAN}",
    "empty": "",
    "None": None,
    "several": ["1.2", "1.3"],
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("value", BAD_OBJECTS.values(), ids=BAD_OBJECTS.keys())
def test_an_object_with_a_bad_uid_is_a_value_error_and_the_association_goes_on(
    value: Any, tmp_path: Path
) -> None:
    bad = ct_image()
    bad.SOPInstanceUID = value
    replaced = folder_with(tmp_path / "in", replace=FILES["instance too long"]) / "2b.dcm"
    with ae(tmp_path) as port:
        with associated(port, contexts=[build_context(CT_IMAGE_STORAGE)]) as assoc:
            for each in (bad, replaced):
                with pytest.raises(ValueError, match="UID"):
                    assoc.send_c_store(each)
            assert assoc.send_c_store(ct_image()).Status == 0x0000

        async def run() -> None:
            async with await aio.connect(
                f"A@127.0.0.1:{port}", {CT_IMAGE_STORAGE: [IMPLICIT_VR_LE]}
            ) as opened:
                for each in (bad, replaced):
                    with pytest.raises(ValueError, match="UID"):
                        await opened.send_c_store(each)
                assert (await opened.send_c_store(ct_image())).Status == 0x0000

        asyncio.run(run())

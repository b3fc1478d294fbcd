"""A recorder between two DICOM peers on loopback, which writes one file for each PDU, and an index.

The fields in the index are decoded by pynetdicom, so they are independent of dicomnet's decoder.
"""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from pynetdicom import dsutils, pdu
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

HOST = "127.0.0.1"
DEADLINE = 20.0  # seconds for any one peer to answer
LARGEST = 24_000  # bytes of a PDU that is kept

Fields = dict[str, Any]

PDU_NAMES = {
    1: "A-ASSOCIATE-RQ",
    2: "A-ASSOCIATE-AC",
    3: "A-ASSOCIATE-RJ",
    4: "P-DATA-TF",
    5: "A-RELEASE-RQ",
    6: "A-RELEASE-RP",
    7: "A-ABORT",
}

_MESSAGES = {
    0x0001: "C-STORE",
    0x0010: "C-GET",
    0x0020: "C-FIND",
    0x0021: "C-MOVE",
    0x0030: "C-ECHO",
    0x0100: "N-EVENT-REPORT",
    0x0110: "N-GET",
    0x0120: "N-SET",
    0x0130: "N-ACTION",
    0x0140: "N-CREATE",
    0x0150: "N-DELETE",
}
MESSAGE_NAMES = {
    0x0FFF: "C-CANCEL-RQ",
    **{number: f"{name}-RQ" for number, name in _MESSAGES.items()},
    **{number | 0x8000: f"{name}-RSP" for number, name in _MESSAGES.items()},
}


@dataclass(frozen=True)
class Peer:
    """The sender of recorded bytes."""

    product: str
    tool: str
    version: str


class Recorder:
    """A proxy that listens on a free port, forwards all bytes to another port, and keeps both directions."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[tuple[bytearray, bytearray]] = []
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        # On Linux closing alone does not wake a thread in accept().
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(DEADLINE)
        for thread in self._threads:
            thread.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = connect(self._target_port)
            sent, answered = bytearray(), bytearray()
            self.connections.append((sent, answered))
            for source, sink, log in ((near, far, sent), (far, near, answered)):
                thread = threading.Thread(target=_pump, args=(source, sink, log), daemon=True)
                thread.start()
                self._threads.append(thread)


def _pump(source: socket.socket, sink: socket.socket, log: bytearray) -> None:
    try:
        while data := source.recv(65536):
            log += data
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # A reset: wake the other direction, which close() would not.
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


def connect(port: int) -> socket.socket:
    """Connect, waiting for a server that is still starting."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return socket.create_connection((HOST, port), timeout=DEADLINE)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


# A predicate on a PDU's number and label: whether it is kept.
Keep = Callable[[int, str], bool]


def everything(number: int, label: str) -> bool:
    return True


def greetings(number: int, label: str) -> bool:
    """The first PDU of each side."""
    return number == 1


def no_data_sets(number: int, label: str) -> bool:
    """All PDUs except those with data sets, which may hold times and generated UIDs."""
    return label != "data-set"


@dataclass
class Golden:
    """The recorded PDUs that are kept, with their entries in the index."""

    entries: list[tuple[str, bytes, Fields]] = field(default_factory=list)

    @contextmanager
    def recording(
        self,
        scenario: str,
        requestor: Peer | None,
        acceptor: Peer | None,
        target_port: int,
        known: Fields | None = None,
        *,
        keep: Keep = everything,
    ) -> Iterator[int]:
        """Record a connection; yields the port that the requestor has to connect to.

        Parameters
        ----------
        scenario
            Name of the scenario, with which the names of the files begin.
        requestor, acceptor
            The two peers. What a peer sends is not kept if None is given for it.
        target_port
            Where the acceptor listens.
        known
            Fields of the A-ASSOCIATE-RQ that follow from how the requestor was called.
        keep
            Which PDUs are kept.

        Yields
        ------
        int
            The port to connect to.
        """
        recorder = Recorder(target_port)
        try:
            yield recorder.port
        finally:
            recorder.close()
        self.keep_connection(scenario, requestor, acceptor, recorder, known, keep=keep)

    def keep_connection(
        self,
        scenario: str,
        requestor: Peer | None,
        acceptor: Peer | None,
        recorder: Recorder,
        known: Fields | None = None,
        *,
        keep: Keep = everything,
    ) -> None:
        """Keep the single connection that a recorder saw."""
        if len(recorder.connections) != 1:
            raise RuntimeError(f"{scenario}: {len(recorder.connections)} connections, not one")
        for peer, role, stream in zip(
            (requestor, acceptor), ("requestor", "acceptor"), recorder.connections[0], strict=True
        ):
            if peer is not None:
                self._keep(scenario, peer, role, bytes(stream), known or {}, keep)

    def _keep(self, scenario: str, peer: Peer, role: str, stream: bytes, known: Fields, keep: Keep) -> None:
        for number, content in enumerate(split(stream), 1):
            fields = read_fields(content)
            kind = PDU_NAMES[content[0]]
            if kind == "A-ASSOCIATE-RQ":
                for name, value in known.items():
                    if fields[name] != value:
                        raise RuntimeError(f"{scenario}: {name} is {fields[name]!r}, asked for {value!r}")
            label = (fields.get("message") or ("data-set" if kind == "P-DATA-TF" else kind)).lower()
            if len(content) > LARGEST or not keep(number, label):
                continue
            entry: Fields = {
                "scenario": scenario,
                "product": peer.product,
                "tool": peer.tool,
                "version": peer.version,
                "sender": role,
                "number": number,
                "pdu_type": kind,
                "fields": fields,
            }
            self.entries.append((f"{scenario}-{role}-{number:02d}-{label}.bin", content, entry))

    def first(self, pdu_type: str) -> bytes:
        """The first kept PDU of this type."""
        return next(content for _, content, entry in self.entries if entry["pdu_type"] == pdu_type)

    def refuse_traces_of(self, work: Path) -> None:
        """Raise if the bytes contain a path, a host name or a user name of this machine."""
        traces = {str(work), str(Path.home()), tempfile_root(work), socket.gethostname(), socket.getfqdn()}
        if getpass.getuser() != "root":
            traces.add(getpass.getuser())
        for name, content, _ in self.entries:
            for trace in traces:
                if len(trace) > 2 and trace.encode() in content:
                    raise RuntimeError(f"{name} contains {trace!r}")

    def check_complete(self) -> None:
        """Raise unless there is a PDU of each type from each product, and each message type from pynetdicom."""
        seen = {(entry["product"], entry["pdu_type"]) for _, _, entry in self.entries}
        wanted = {(product, name) for product in ("DCMTK", "pynetdicom") for name in PDU_NAMES.values()}
        messages = {("pynetdicom", name) for name in MESSAGE_NAMES.values()}
        seen |= {(entry["product"], entry["fields"].get("message")) for _, _, entry in self.entries}
        if missing := (wanted | messages) - seen:
            raise RuntimeError(f"nothing was captured for {sorted(missing)}")

    def write(self, folder: Path) -> int:
        """Replace the folder's content; returns its size in bytes."""
        repeated = [name for name, count in Counter(name for name, _, _ in self.entries).items() if count > 1]
        if repeated:
            raise RuntimeError(f"two PDUs have the name {repeated}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        index = []
        for name, content, entry in sorted(self.entries, key=lambda item: item[0]):
            (folder / name).write_bytes(content)
            index.append({"file": name, **entry})
        lines = ",\n".join(json.dumps(entry, sort_keys=False) for entry in index)
        (folder / "index.json").write_text(f"[\n{lines}\n]\n")
        return sum(path.stat().st_size for path in folder.iterdir())


def tempfile_root(work: Path) -> str:
    """The folder in which temporary folders are created."""
    return str(work.parent) + "/"


def split(stream: bytes) -> Iterator[bytes]:
    """The PDUs of a stream, without one that a broken connection left incomplete."""
    at = 0
    while at + 6 <= len(stream):
        end = at + 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
        if end > len(stream):
            return
        yield stream[at:end]
        at = end


def read_fields(content: bytes) -> Fields:
    """The fields of a PDU, as pynetdicom decodes them."""
    return _READERS[content[0]](content)


def _decoded(kind: type[Any], content: bytes) -> Any:
    unit = kind()
    unit.decode(content)
    return unit


def _read_request(content: bytes) -> Fields:
    unit = _decoded(pdu.A_ASSOCIATE_RQ, content)
    return {
        "protocol_version": unit.protocol_version,
        "called_ae_title": unit.called_ae_title.strip(),
        "calling_ae_title": unit.calling_ae_title.strip(),
        "application_context": str(unit.application_context_name),
        "contexts": [
            [context.context_id, str(context.abstract_syntax), [str(uid) for uid in context.transfer_syntax]]
            for context in unit.presentation_context
        ],
        "user_items": _read_user_items(unit),
    }


def _read_acceptance(content: bytes) -> Fields:
    unit = _decoded(pdu.A_ASSOCIATE_AC, content)
    return {
        "protocol_version": unit.protocol_version,
        "application_context": str(unit.application_context_name),
        # The transfer syntax of a context that is not accepted is not significant (PS3.8 Table 9-18).
        "contexts": [
            [each.context_id, each.result, str(each.transfer_syntax) if each.result == 0 else ""]
            for each in unit.presentation_context
        ],
        "user_items": _read_user_items(unit),
    }


def _read_user_items(unit: Any) -> list[list[Any]]:
    """Item type and fields of each sub-item, sorted by type, since their order in the bytes may differ."""
    primitive = unit.to_primitive()
    return sorted((_read_user_item(each) for each in primitive.user_information), key=lambda row: row[0])


def _read_user_item(each: Any) -> list[Any]:
    match each:
        case MaximumLengthNotification():
            return [0x51, each.maximum_length_received]
        case ImplementationClassUIDNotification():
            return [0x52, str(each.implementation_class_uid)]
        case AsynchronousOperationsWindowNegotiation():
            return [0x53, each.maximum_number_operations_invoked, each.maximum_number_operations_performed]
        case SCP_SCU_RoleSelectionNegotiation():
            return [0x54, str(each.sop_class_uid), bool(each.scu_role), bool(each.scp_role)]
        case ImplementationVersionNameNotification():
            return [0x55, each.implementation_version_name]
        case SOPClassExtendedNegotiation():
            return [0x56, str(each.sop_class_uid), (each.service_class_application_information or b"").hex()]
        case SOPClassCommonExtendedNegotiation():
            related = [str(uid) for uid in each.related_general_sop_class_identification]
            return [0x57, str(each.sop_class_uid), str(each.service_class_uid), related]
        case UserIdentityNegotiation() if each.server_response is not None:
            return [0x59, each.server_response.hex()]
        case UserIdentityNegotiation():
            fields = [(each.primary_field or b"").hex(), (each.secondary_field or b"").hex()]
            return [0x58, each.user_identity_type, *fields, bool(each.positive_response_requested)]
    raise RuntimeError(f"a sub-item of type {type(each).__name__} is not expected")


def _read_rejection(content: bytes) -> Fields:
    unit = _decoded(pdu.A_ASSOCIATE_RJ, content)
    return {"result": unit.result, "source": unit.source, "reason": unit.reason_diagnostic}


def _read_abort(content: bytes) -> Fields:
    unit = _decoded(pdu.A_ABORT_RQ, content)
    return {"source": unit.source, "reason": unit.reason_diagnostic}


def _read_data(content: bytes) -> Fields:
    values = _decoded(pdu.P_DATA_TF, content).presentation_data_value_items
    fields: Fields = {
        "values": [
            [
                each.presentation_context_id,
                each.presentation_data_value[0],
                len(each.presentation_data_value) - 1,
            ]
            for each in values
        ]
    }
    if len(values) == 1 and values[0].presentation_data_value[0] & 3 == 3:
        command = dsutils.decode(BytesIO(values[0].presentation_data_value[1:]), True, True)
        fields["message"] = MESSAGE_NAMES[command.CommandField]
        fields["command"] = {element.keyword: _plain(element.value) for element in command}
    return fields


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    return str(value) if isinstance(value, str) else [_plain(each) for each in value]


def _read_nothing(content: bytes) -> Fields:
    return {}


_READERS: dict[int, Callable[[bytes], Fields]] = {
    1: _read_request,
    2: _read_acceptance,
    3: _read_rejection,
    4: _read_data,
    5: _read_nothing,
    6: _read_nothing,
    7: _read_abort,
}

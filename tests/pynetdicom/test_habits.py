"""What programs of pynetdicom do beyond its documentation, where a scenario with two programs says too little."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pynetdicom as reference
import pynetdicom.presentation as reference_presentation
import pynetdicom.sop_class as reference_sop_class
import pytest
from pydicom.uid import UID
from pynetdicom.transport import AddressInformation as ReferenceAddress
from tests.associations import ct_image
from tests.sockets import make_certificates

from dicomnet import _config, pynetdicom
from dicomnet.exchange.retrieval import without_bulk_data
from dicomnet.pynetdicom import evt, presentation, sop_class
from dicomnet.pynetdicom.pdu_primitives import AddressInformation

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"]


@pytest.fixture
def ae() -> Iterator[pynetdicom.AE]:
    with pynetdicom.AE() as entity:
        entity.add_supported_context(VERIFICATION)
        entity.add_supported_context(CT)
        entity.add_requested_context(VERIFICATION)
        entity.add_requested_context(CT)
        yield entity


@pytest.mark.parametrize("name", ["sop_class", "presentation", "status", "events", "dimse_primitives"])
def test_a_star_import_gives_what_it_gives_in_pynetdicom(name: str) -> None:
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    exec(f"from dicomnet.pynetdicom.{name} import *", ours)
    exec(f"from pynetdicom.{name} import *", theirs)

    def own(value: Any) -> bool:
        # What the module itself imports, such as Any or logging, is not its to give.
        return not isinstance(value, ModuleType) and "typing" not in str(value)

    module = f"pynetdicom.{name}"
    defined = {
        key
        for key, value in theirs.items()
        if own(value)
        and (getattr(value, "__module__", None) or module).startswith(module)
        and key[0].isupper()
    }
    missing = {key for key in defined - ours.keys() if isinstance(theirs[key], UID | list | dict)}
    # What its own negotiation looks up.
    assert missing <= {"SCP_SCU_ROLES"}


@pytest.mark.parametrize(
    "name", [n for n in vars(reference_sop_class) if n.endswith("_CLASSES") and n != "_SERVICE_CLASSES"]
)
def test_the_dictionaries_of_sop_classes_are_there(name: str) -> None:
    theirs = getattr(reference_sop_class, name)
    ours = getattr(sop_class, name)
    assert {key: str(uid) for key, uid in theirs.items()}.items() <= ours.items()


@pytest.mark.parametrize("address", [("localhost", 1), ("", 104), ("127.0.0.1", 2), ("::1", 3, 4, 5)])
def test_an_address_is_looked_up(address: Any) -> None:
    ours, theirs = AddressInformation(*address), ReferenceAddress(*address)
    assert (ours.address, ours.port, ours.as_tuple) == (theirs.address, theirs.port, theirs.as_tuple)


def test_an_unknown_host_has_no_address() -> None:
    with pytest.raises(socket.gaierror):
        AddressInformation("host.invalid", 104)


def test_the_peer_is_known_by_its_address(ae: pynetdicom.AE) -> None:
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    assoc = ae.associate("localhost", server.server_address[1])
    assert assoc.remote["address"] == "127.0.0.1"
    assoc.release()


def test_an_ipv6_address_has_four_parts(ae: pynetdicom.AE) -> None:
    seen: list[Any] = []
    handlers: Any = [(evt.EVT_CONN_OPEN, lambda event: seen.append(event.address))]
    server = ae.start_server(("::1", 0, 0, 0), block=False, evt_handlers=handlers)
    assert server is not None
    assert len(server.server_address) == 4
    assoc = ae.associate(("::1", 0, 0), server.server_address[1], evt_handlers=handlers)
    assert assoc.is_established
    assoc.release()
    assert [len(each) for each in seen] == [4, 4]


def test_the_certificate_is_there_when_the_connection_is_opened(ae: pynetdicom.AE, tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path)
    seen: list[Any] = []

    def opened(event: Any) -> None:
        seen.append(bool(event.assoc.dul.socket.socket.getpeercert()))

    handlers: Any = [(evt.EVT_CONN_OPEN, opened)]
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, ssl_context=certificates.server(mutual=True), evt_handlers=handlers
    )
    assert server is not None
    assoc = ae.associate(
        "127.0.0.1",
        server.server_address[1],
        tls_args=(certificates.client(mutual=True), "localhost"),
        evt_handlers=handlers,
    )
    assert assoc.is_established
    assoc.release()
    assert seen == [True, True]


def test_the_acceptor_is_established_when_the_requestor_knows(ae: pynetdicom.AE) -> None:
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    for _ in range(20):
        assoc = ae.associate("127.0.0.1", server.server_address[1])
        (accepted,) = server.active_associations
        assert accepted.is_established
        assert accepted.acceptor.maximum_length == 16382
        accepted.release()
        accepted.join(5)
        assoc.join(5)
        assert assoc.is_released


@pytest.mark.parametrize("has_failed", [True, False])
def test_a_file_that_cannot_be_removed_costs_nothing(
    ae: pynetdicom.AE, monkeypatch: pytest.MonkeyPatch, has_failed: bool
) -> None:
    """As on Windows, where a file that a handler has open stays."""
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", True)
    paths: list[Path] = []
    unlink = os.unlink

    def stored(event: Any) -> int:
        paths.append(event.dataset_path)
        if has_failed:
            raise RuntimeError("the program has a fault")
        return 0xB007

    def refuse(path: Any) -> None:
        if Path(path) in paths:
            raise PermissionError("in use")
        unlink(path)

    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    assert server is not None
    assoc = ae.associate("127.0.0.1", server.server_address[1])
    monkeypatch.setattr(os, "unlink", refuse)
    assert assoc.send_c_store(ct_image(16)).Status == (0xC211 if has_failed else 0xB007)
    assert assoc.is_established
    monkeypatch.undo()
    assoc.release()
    for path in paths:
        path.unlink()


def test_a_sink_of_the_program_leaves_no_empty_data_set(ae: pynetdicom.AE) -> None:
    """A handler that asks for what it never gets must not take an empty object for it."""
    seen: list[str] = []

    class Nowhere:
        def write(self, data: memoryview) -> None: ...

        def abort(self) -> None: ...

    def stored(event: Any) -> int:
        try:
            seen.append(str(event.dataset.PatientID))
        except AttributeError as error:
            seen.append(str(error))
        return 0x0000

    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, stored)],
        open_sink=lambda *_: Nowhere(),
    )
    assert server is not None
    assoc = ae.associate("127.0.0.1", server.server_address[1])
    assert assoc.send_c_store(ct_image(16)).Status == 0x0000
    assoc.release()
    assert seen == ["the data set is where the program's own sink put it"]


@pytest.mark.parametrize(
    "bulk", [0x7FE00008, 0x7FE00009, 0x7FE00010, 0x60003000, 0x601E3000, 0x50003000, 0x5002200C]
)
def test_bulk_data_is_left_out_of_a_copy(bulk: int) -> None:
    whole = ct_image(16)
    whole.add_new(bulk, "OW", bytes(4))
    light = without_bulk_data(whole)
    assert bulk in whole
    assert bulk not in light
    assert light.SOPInstanceUID == whole.SOPInstanceUID
    assert light.file_meta is whole.file_meta


def test_a_status_table_is_a_dictionary() -> None:
    for name in dir(pynetdicom.status):
        if name.endswith("_STATUS"):
            ours, theirs = getattr(pynetdicom.status, name), getattr(reference.status, name, {})
            assert isinstance(ours, dict)
            assert {code: each[0] for code, each in theirs.items()}.items() <= {
                code: each[0] for code, each in ours.items()
            }.items(), name


def contexts(
    package: Any, *uids: str, syntaxes: list[str], first: int = 1, **roles: bool | None
) -> list[Any]:
    made = [package.build_context(uid, list(syntaxes)) for uid in uids]
    for number, each in enumerate(made):
        each.context_id = first + 2 * number
        for role, value in roles.items():
            setattr(each, role, value)
    return made


@pytest.mark.parametrize("scu", [True, False, None])
@pytest.mark.parametrize("scp", [True, False, None])
@pytest.mark.parametrize("asked", [None, (True, True), (False, True), (True, False)])
def test_negotiation_as_a_function_is_the_same(scu: Any, scp: Any, asked: Any) -> None:
    if (scu is None) is not (scp is None):
        return
    seen = []
    for package, module in ((pynetdicom, presentation), (reference, reference_presentation)):
        proposed = contexts(package, VERIFICATION, CT, MR, syntaxes=SYNTAXES)
        supported = contexts(package, CT, VERIFICATION, syntaxes=SYNTAXES[1:], scu_role=scu, scp_role=scp)
        roles = None if asked is None else {UID(CT): asked}
        results, granted = module.negotiate_as_acceptor(proposed, supported, roles)
        seen.append(
            (
                [(each.context_id, str(each.abstract_syntax), each.result) for each in results],
                [(each.as_scu, each.as_scp) for each in results if each.result == 0],
                [(str(each.sop_class_uid), each.scu_role, each.scp_role) for each in granted],
            )
        )
    assert seen[0] == seen[1]


def test_the_conclusion_as_a_function_is_the_same() -> None:
    seen = []
    for package, module in ((pynetdicom, presentation), (reference, reference_presentation)):
        proposed = contexts(package, VERIFICATION, CT, syntaxes=SYNTAXES)
        answered = contexts(package, VERIFICATION, CT, syntaxes=SYNTAXES[1:])
        answered[0].result, answered[1].result = 0, 3
        results = module.negotiate_as_requestor(proposed, answered)
        seen.append(
            [(each.context_id, each.result, each.transfer_syntax[:1]) for each in results if not each.result]
        )
    assert seen[0] == seen[1]
    with pytest.raises(ValueError):
        presentation.negotiate_as_requestor([], [])


def test_serve_forever_begins(ae: pynetdicom.AE) -> None:
    server = ae.make_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assoc = ae.associate("127.0.0.1", server.server_address[1])
    assert assoc.send_c_echo().Status == 0x0000
    assoc.release()
    server.shutdown()
    thread.join(20)
    assert not thread.is_alive()

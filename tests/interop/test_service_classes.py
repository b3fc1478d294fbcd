"""Every service class with pynetdicom in both directions, by both drivers; worklists with DCMTK."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt as foreign_evt
from pynetdicom.sop_class import uid_to_service_class as foreign_service_class
from tests.support import free_port, is_listening, run_tool, running_process, tool, wait_until

from dicomnet import AE, aio, evt
from dicomnet.pynetdicom import service_class, sop_class
from dicomnet.services.service_classes import SERVICE_CLASSES
from dicomnet.services.service_names import ServiceName
from dicomnet.services.sop_classes import SOP_CLASSES

from .normalized import SERVICES, data, plain
from .peers import aio_server

INSTANCE = "1.2.826.0.1.3680043.10.1234.9"
# What a service class does here; sub-operations have tests of their own.
TESTED = ("C-STORE", "C-FIND", *SERVICES)


def uids_of(service: ServiceName) -> list[str]:
    """The SOP classes of a service class, but for those that stand for what is not tested here; of storage, some."""
    rows = [row for row in SOP_CLASSES.values() if row.service is service]
    uids = [row.uid for row in rows if row.operation in ("", *TESTED)]
    return uids[:10] if service is ServiceName.STORAGE else uids


TESTED_CLASSES = [
    service
    for service in ServiceName
    if SERVICE_CLASSES[service].operations & set(TESTED) and service is not ServiceName.VERIFICATION
]


def operations_of(uid: str) -> list[str]:
    row = SOP_CLASSES[uid]
    return [row.operation] if row.operation else sorted(SERVICE_CLASSES[row.service].operations & set(TESTED))


def stored(uid: str) -> Dataset:
    dataset = data(SOPClassUID=uid, SOPInstanceUID=INSTANCE, PatientName="A")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def arguments_of(service: str, uid: str) -> tuple[str, tuple[Any, ...]]:
    """The method of an association for a service, and what to call it with."""
    given = data(PatientID="X")
    first: dict[str, tuple[Any, ...]] = {
        "N-ACTION": (given, 1),
        "N-CREATE": (given,),
        "N-DELETE": (),
        "N-EVENT-REPORT": (given, 1),
        "N-GET": ([0x00100020],),
        "N-SET": (given,),
    }
    name = "send_" + service.lower().replace("-", "_")
    if service == "C-STORE":
        return name, (stored(uid),)
    if service == "C-FIND":
        return name, (given, uid)
    return name, (*first[service], uid, INSTANCE)


Result = list[tuple[int | None, dict[str, Any] | None]]
FOUND = {"PatientName": "A"}
EXPECTED: dict[str, Result] = {
    "C-STORE": [(0x0000, None)],
    "C-FIND": [(0xFF00, FOUND), (0x0000, None)],
    "N-DELETE": [(0x0000, None)],
    **{service: [(0x0000, FOUND)] for service in SERVICES if service != "N-DELETE"},
}


def result_of(replies: list[Any]) -> Result:
    pairs = [reply if isinstance(reply, tuple) else (reply, None) for reply in replies]
    return [(status.get("Status"), plain(reply)) for status, reply in pairs]


# -- SCUs


def ask_by(ae: Any, port: int, uids: list[str]) -> dict[tuple[str, str], Result]:
    for uid in uids:
        ae.add_requested_context(uid, ImplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port)
    assert assoc.is_established
    results = {}
    for uid in uids:
        for service in operations_of(uid):
            name, given = arguments_of(service, uid)
            reply = getattr(assoc, name)(*given)
            results[uid, service] = result_of(list(reply) if service == "C-FIND" else [reply])
    assoc.release()
    return results


def ask_by_aio(port: int, uids: list[str]) -> dict[tuple[str, str], Result]:
    async def ask() -> dict[tuple[str, str], Result]:
        results = {}
        contexts = {uid: [str(ImplicitVRLittleEndian)] for uid in uids}
        async with await aio.connect(f"SCP@127.0.0.1:{port}", contexts) as assoc:
            for uid in uids:
                for service in operations_of(uid):
                    name, given = arguments_of(service, uid)
                    reply = getattr(assoc, name)(*given)
                    replies = [each async for each in reply] if service == "C-FIND" else [await reply]
                    results[uid, service] = result_of(replies)
        return results

    return asyncio.run(ask())


OUR_SCUS: dict[str, Callable[[int, list[str]], dict[tuple[str, str], Result]]] = {
    "AE": lambda port, uids: ask_by(AE(), port, uids),
    "aio": ask_by_aio,
}


# -- SCPs


def find(event: object) -> Iterator[tuple[int, Dataset]]:
    yield 0xFF00, data(PatientName="A")


def answer(service: str) -> Any:
    if service == "C-FIND":
        return find
    status = 0x0000 if service in ("C-STORE", "N-DELETE") else (0x0000, data(PatientName="A"))
    return lambda event: status


ALL = sorted({uid for service in TESTED_CLASSES for uid in uids_of(service)})


@contextlib.contextmanager
def scp(ae: Any, events: Any, uids: list[str], handlers: dict[str, Any]) -> Iterator[int]:
    for uid in uids:
        ae.add_supported_context(uid)
    bound = [
        (getattr(events, "EVT_" + name.replace("-", "_")), handler) for name, handler in handlers.items()
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=bound)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Our SCPs and pynetdicom's, which perform everything for all SOP classes."""
    handlers = {service: answer(service) for service in TESTED}
    with contextlib.ExitStack() as stack:
        yield {
            "AE": stack.enter_context(scp(AE(), evt, ALL, handlers)),
            "aio": stack.enter_context(aio_server(ALL, handlers)),
            "pynetdicom": stack.enter_context(scp(pynetdicom.AE(), foreign_evt, ALL, handlers)),
        }


def check(results: dict[tuple[str, str], Result]) -> None:
    wrong = {key: result for key, result in results.items() if result != EXPECTED[key[1]]}
    assert results
    assert not wrong


@pytest.mark.parametrize("name", ["AE", "aio"])
@pytest.mark.parametrize("service", TESTED_CLASSES)
def test_pynetdicoms_scu_with_our_scp(ports: dict[str, int], service: ServiceName, name: str) -> None:
    check(ask_by(pynetdicom.AE(), ports[name], uids_of(service)))


@pytest.mark.parametrize("name", OUR_SCUS)
@pytest.mark.parametrize("service", TESTED_CLASSES)
def test_our_scu_with_pynetdicoms_scp(ports: dict[str, int], service: ServiceName, name: str) -> None:
    base = pynetdicom.service_class.ServiceClass
    known = [uid for uid in uids_of(service) if foreign_service_class(uid) is not base]
    check(OUR_SCUS[name](ports["pynetdicom"], known))


@pytest.mark.parametrize("name", OUR_SCUS)
@pytest.mark.parametrize("service", TESTED_CLASSES)
def test_our_scu_with_our_scp(ports: dict[str, int], service: ServiceName, name: str) -> None:
    check(OUR_SCUS[name](ports[name], uids_of(service)))


# -- what query handlers yield, in service classes that are not query/retrieve


def unencodable() -> Dataset:
    dataset = Dataset()
    dataset[0x00280010] = DataElement(0x00280010, "US", "many", validation_mode=IGNORE)
    return dataset


MATCH = (0xFF00, data(PatientName="A"))
FINDINGS: dict[str, list[Any]] = {
    "nothing": [],
    "one": [MATCH],
    "one and success": [MATCH, (0x0000, None)],
    "exception": [ValueError("a bug in the handler")],
    "not encodable": [(0xFF00, unencodable())],
    "no match": [(0xFF00, None)],
    "failure": [(0xA700, None)],
    "failure of the service": [(0xC200, None)],
    "warning": [(0xB001, None)],
    "cancel": [(0xFE00, None)],
    "unknown": [(0x1234, None)],
    "text": [("x", None)],
    "no status": [(Dataset(), None)],
}
SEVERAL: dict[str, list[Any]] = {
    "two": [MATCH, MATCH],
    "unsupported keys": [(0xFF01, MATCH[1])],
    "exception after a match": [MATCH, ValueError("a bug in the handler")],
    "failure after a match": [MATCH, (0xC001, None)],
}
QUERIES = {
    "worklist": sop_class.ModalityWorklistInformationModelFind,
    "relevant patient": sop_class.GeneralRelevantPatientInformationQuery,
    "substance": sop_class.ProductCharacteristicsQuery,
    "UPS": sop_class.UnifiedProcedureStepPull,
    "hanging protocol": sop_class.HangingProtocolInformationModelFind,
    "repository": sop_class.RepositoryQuery,
}


def statuses(port: int, uid: str) -> list[int | None]:
    ae = AE()
    ae.add_requested_context(uid)
    assoc = ae.associate("127.0.0.1", port)
    assert assoc.is_established
    try:
        return [status.get("Status") for status, _ in assoc.send_c_find(data(PatientName=""), uid)]
    finally:
        assoc.release()


@pytest.mark.parametrize("name", [*FINDINGS, *SEVERAL])
def test_what_a_query_handler_yields_becomes_what_it_becomes_in_pynetdicom(name: str) -> None:
    def handler(event: Any) -> Iterator[Any]:
        for result in (FINDINGS | SEVERAL)[name]:
            if isinstance(result, Exception):
                raise result
            yield result

    uids = [str(uid) for uid in QUERIES.values()]
    if name in SEVERAL:
        # Of these there is one match at most; see the tests of the procedure.
        uids.remove(sop_class.GeneralRelevantPatientInformationQuery)
    with scp(AE(), evt, uids, {"C-FIND": handler}) as ours:
        with scp(pynetdicom.AE(), foreign_evt, uids, {"C-FIND": handler}) as theirs:
            got = {uid: statuses(ours, uid) for uid in uids}
            assert got == {uid: statuses(theirs, uid) for uid in uids}


def test_without_a_handler_a_query_fails_as_in_pynetdicom() -> None:
    uids = [str(uid) for uid in QUERIES.values()]
    with scp(AE(), evt, uids, {}) as ours, scp(pynetdicom.AE(), foreign_evt, uids, {}) as theirs:
        for uid in uids:
            assert statuses(ours, uid) == statuses(theirs, uid) == [0xC311]


# -- what a service class does not have


def test_an_operation_that_a_service_class_does_not_have_is_refused(ports: dict[str, int]) -> None:
    """Where pynetdicom aborts, the status is 0211H and the association goes on (PS3.7 Annex C)."""
    uid = str(sop_class.StorageCommitmentPushModel)
    for name in ("AE", "aio"):
        ae = AE()
        ae.add_requested_context(uid)
        assoc = ae.associate("127.0.0.1", ports[name])
        for service in ("N-CREATE", "N-DELETE", "N-GET", "N-SET"):
            method, given = arguments_of(service, uid)
            (result,) = result_of([getattr(assoc, method)(*given)])
            assert result == (0x0211, None)
        assert assoc.send_n_action(None, 1, uid, INSTANCE)[0].Status == 0
        assoc.release()


def test_a_registered_sop_class_follows_its_service_class(monkeypatch: pytest.MonkeyPatch) -> None:
    uid = "1.2.826.0.1.3680043.10.1234.8"
    monkeypatch.setattr(sop_class, "_UIDS", dict(sop_class._UIDS))
    monkeypatch.setattr(sop_class, "__all__", list(sop_class.__all__))
    monkeypatch.setitem(SOP_CLASSES, uid, SOP_CLASSES[sop_class.StorageCommitmentPushModel])
    handlers = {service: answer(service) for service in TESTED}
    expected = {
        kind: SERVICE_CLASSES[service].operations & set(TESTED)
        for service, kind in (
            (ServiceName.STORAGE_COMMITMENT, service_class.StorageCommitmentServiceClass),
            (ServiceName.BASIC_WORKLIST_MANAGEMENT, service_class.BasicWorklistManagementServiceClass),
            (ServiceName.UNIFIED_PROCEDURE_STEP, service_class.UnifiedProcedureStepServiceClass),
            (ServiceName.NON_PATIENT_OBJECT_STORAGE, service_class.NonPatientObjectStorageServiceClass),
        )
    }
    with scp(AE(), evt, [uid], handlers) as port:
        for kind, operations in expected.items():
            sop_class.register_uid(uid, "PrivateThing", kind)
            ae = AE()
            ae.add_requested_context(uid, ImplicitVRLittleEndian)
            assoc = ae.associate("127.0.0.1", port)
            for service in TESTED:
                method, given = arguments_of(service, uid)
                reply = getattr(assoc, method)(*given)
                result = result_of(list(reply) if service == "C-FIND" else [reply])
                assert result == (EXPECTED[service] if service in operations else [(0x0211, None)])
            assoc.release()


# -- worklists with DCMTK

WORKLIST = str(sop_class.ModalityWorklistInformationModelFind)
NAMES = ("Doe^Jane", "Roe^Richard", "Doe^John")


def entry(name: str, number: int) -> Dataset:
    """An item of a worklist."""
    step = data(
        Modality="CT",
        ScheduledStationAETitle="CT1",
        ScheduledProcedureStepStartDate="20200101",
        ScheduledProcedureStepStartTime="120000",
        ScheduledPerformingPhysicianName="Smith",
        ScheduledProcedureStepDescription="CT",
        ScheduledProcedureStepID=f"S{number}",
    )
    return data(
        SpecificCharacterSet="ISO_IR 100",
        AccessionNumber=str(number),
        PatientName=name,
        PatientID=f"ID{number}",
        PatientBirthDate="19700101",
        PatientSex="O",
        StudyInstanceUID=f"{INSTANCE}.{number}",
        RequestedProcedureDescription="CT",
        ScheduledProcedureStepSequence=[step],
        RequestedProcedureID=f"R{number}",
    )


def worklist_query() -> Dataset:
    step = data(Modality="CT", ScheduledProcedureStepStartDate="")
    return data(PatientName="Doe*", PatientID="", ScheduledProcedureStepSequence=[step])


def names_by(ae: Any, port: int) -> tuple[list[str], int]:
    ae.add_requested_context(WORKLIST)
    assoc = ae.associate("127.0.0.1", port, ae_title="WORKLIST")
    assert assoc.is_established
    replies = list(assoc.send_c_find(worklist_query(), WORKLIST))
    assoc.release()
    return sorted(str(match.PatientName) for _, match in replies if match), replies[-1][0].Status


def names_by_aio(port: int) -> tuple[list[str], int]:
    async def ask() -> tuple[list[str], int]:
        async with await aio.connect(f"WORKLIST@127.0.0.1:{port}", [WORKLIST]) as assoc:
            replies = [each async for each in assoc.send_c_find(worklist_query(), WORKLIST)]
        return sorted(str(match.PatientName) for _, match in replies if match), replies[-1][0].Status

    return asyncio.run(ask())


def test_our_scus_with_dcmtks_worklist(tmp_path: Path) -> None:
    """S060."""
    folder = tmp_path / "data" / "WORKLIST"
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    for number, name in enumerate(NAMES, 1):
        item = entry(name, number)
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = UID("1.2.276.0.7230010.3.1.0.1")
        item.file_meta.MediaStorageSOPInstanceUID = UID(f"{INSTANCE}.{number}")
        item.save_as(folder / f"{number}.wl", enforce_file_format=True)
    port = free_port()
    with running_process([tool("wlmscpfs"), "-dfp", str(folder.parent), str(port)], tmp_path):
        wait_until(lambda: is_listening(port), what="wlmscpfs listens")
        expected = (["Doe^Jane", "Doe^John"], 0x0000)
        assert names_by(pynetdicom.AE(), port) == expected
        assert names_by(AE(), port) == expected
        assert names_by_aio(port) == expected


@pytest.mark.parametrize("name", ["AE", "aio"])
def test_dcmtks_findscu_with_our_worklist(name: str) -> None:
    """S060."""
    asked: list[Dataset] = []

    def handle(event: Any) -> Iterator[tuple[int, Dataset]]:
        asked.append(event.identifier if name == "AE" else event.dataset)
        for number, each in enumerate(NAMES, 1):
            if each.startswith("Doe"):
                yield 0xFF00, entry(each, number)

    handlers = {"C-FIND": handle}
    server = scp(AE(), evt, [WORKLIST], handlers) if name == "AE" else aio_server([WORKLIST], handlers)
    with server as port:
        keys = ["-k", "PatientName=Doe*", "-k", "ScheduledProcedureStepSequence[0].Modality=CT"]
        done = run_tool([tool("findscu"), "-v", "-W", *keys, "127.0.0.1", str(port)])
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    assert re.findall(r"PN \[(Doe\^\w+)", output) == ["Doe^Jane", "Doe^John"]
    assert asked[0].ScheduledProcedureStepSequence[0].Modality == "CT"

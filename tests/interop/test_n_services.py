"""The normalized services with pynetdicom and DCMTK, in both directions, by both drivers: print, MPPS, commitment."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import evt as foreign_evt
from tests.support import free_port, is_listening, run_tool, running_process, tool, wait_until

from dicomnet import AE, build_context, build_role, evt
from dicomnet.pynetdicom.sop_class import (
    BasicFilmBox,
    BasicFilmSession,
    BasicGrayscaleImageBox,
    BasicGrayscalePrintManagementMeta,
    ModalityPerformedProcedureStep,
    Printer,
    PrinterInstance,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
)

from .normalized import (
    OUR_SCPS,
    OUR_SCUS,
    Asked,
    Call,
    Reply,
    ask_by_pynetdicom,
    data,
    pynetdicom_scp,
)

STUDY = "1.2.826.0.1.3680043.10.1234.1"
SESSION, FILM, STEP = STUDY + ".2", STUDY + ".4", STUDY + ".3"
META = str(BasicGrayscalePrintManagementMeta)
COMMITMENT = str(StorageCommitmentPushModel)
ON_META = {"meta_uid": META}
ON_PULL = {"meta_uid": str(UnifiedProcedureStepPull)}

# -- with pynetdicom

UIDS = [str(ModalityPerformedProcedureStep), META, COMMITMENT, str(UnifiedProcedureStepPull)]
STATE = data(ProcedureStepState="IN PROGRESS")
CALLS: list[Call] = [
    (
        "send_n_create",
        (data(PerformedProcedureStepStatus="IN PROGRESS"), ModalityPerformedProcedureStep, STEP),
        {},
    ),
    (
        "send_n_set",
        (data(PerformedProcedureStepStatus="COMPLETED"), ModalityPerformedProcedureStep, STEP),
        {},
    ),
    ("send_n_get", ([0x21100010, 0x21100020], Printer, PrinterInstance), ON_META),
    ("send_n_get", ([], Printer, PrinterInstance), ON_META),
    ("send_n_create", (data(NumberOfCopies="1"), BasicFilmSession, SESSION), ON_META),
    ("send_n_create", (None, BasicFilmBox), ON_META),
    ("send_n_action", (None, 1, BasicFilmBox, FILM), ON_META),
    ("send_n_delete", (BasicFilmSession, SESSION), ON_META),
    ("send_n_action", (STATE, 1, UnifiedProcedureStepPush, STEP), ON_PULL),
    ("send_n_get", ([0x00741000], UnifiedProcedureStepPush, STEP), ON_PULL),
    ("send_n_event_report", (data(PrinterName="P"), 2, Printer, PrinterInstance), ON_META),
    (
        "send_n_action",
        (data(TransactionUID=STUDY), 1, COMMITMENT, StorageCommitmentPushModelInstance),
        {},
    ),
    ("send_n_event_report", (None, 1, COMMITMENT, StorageCommitmentPushModelInstance), {}),
]


def answer(asked: Asked) -> Any:
    """One of each kind: data sets, none, warnings, failures, elements in the status."""
    if asked.service == "N-DELETE":
        return data(Status=0x0112, ErrorComment="gone", ErrorID=3)
    if asked.service == "N-CREATE" and asked.instance is None:
        return 0x0000, data(AffectedSOPInstanceUID=FILM, FilmOrientation="PORTRAIT")
    if asked.service == "N-GET" and asked.sop_class == UnifiedProcedureStepPush:
        return data(Status=0xC307), None
    if asked.service == "N-GET":
        status = data(Status=0x0107, AttributeIdentifierList=[0x21100020]) if asked.tags else 0x0000
        return status, data(PrinterStatus="NORMAL")
    if asked.service == "N-ACTION" and asked.sop_class == BasicFilmBox:
        return 0xB603, data(ReferencedPrintJobSequence=[])
    if asked.service == "N-SET":
        return 0x0110, None
    return 0x0000, None


def noting(got: list[Asked]) -> Callable[[Asked], Any]:
    """`answer`, which keeps what it is asked."""

    def answer_noted(asked: Asked) -> Any:
        got.append(asked)
        return answer(asked)

    return answer_noted


def without_choice(replies: list[Reply]) -> list[Reply]:
    """Not the instance UID that the SCP chose, which our SCUs tell and pynetdicom's does not."""
    for (status, _), call in zip(replies, CALLS, strict=True):
        if call[0] == "send_n_create":
            status.pop("AffectedSOPInstanceUID", None)
        # The type of an event is told with a reply only (PS3.7 section 10.1.1.1.5); pynetdicom always tells it.
        status.pop("EventTypeID", None)
    return replies


@pytest.fixture(scope="module")
def reference() -> tuple[list[Asked], list[Reply]]:
    """What pynetdicom's SCP is asked by its SCU, and what the SCU gets."""
    got: list[Asked] = []
    with pynetdicom_scp(UIDS, noting(got)) as port:
        replies = without_choice(ask_by_pynetdicom(port, UIDS, CALLS))
    assert len(got) == len(CALLS)
    return got, replies


@pytest.mark.parametrize("name", OUR_SCUS)
def test_our_scu_with_pynetdicoms_scp(name: str, reference: tuple[list[Asked], list[Reply]]) -> None:
    got: list[Asked] = []
    with pynetdicom_scp(UIDS, noting(got)) as port:
        replies = OUR_SCUS[name](port, UIDS, CALLS)
    assert replies[5][0]["AffectedSOPInstanceUID"] == FILM
    assert (got, without_choice(replies)) == reference


@pytest.mark.parametrize("name", OUR_SCPS)
def test_pynetdicoms_scu_with_our_scp(name: str, reference: tuple[list[Asked], list[Reply]]) -> None:
    got: list[Asked] = []
    with OUR_SCPS[name](UIDS, noting(got)) as port:
        replies = ask_by_pynetdicom(port, UIDS, CALLS)
    assert (got, without_choice(replies)) == reference


# -- storage commitment with pynetdicom


class Reports:
    """What an SCU was told, and the statuses that the SCP got for it."""

    def __init__(self) -> None:
        self.told: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        self.statuses: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.threads: list[threading.Thread] = []

    def report(self, assoc: Any, transaction: str) -> None:
        status, _ = assoc.send_n_event_report(
            data(TransactionUID=transaction), 1, COMMITMENT, StorageCommitmentPushModelInstance
        )
        self.statuses.put(status.Status)

    def on_report(self, event: Any) -> tuple[int, None]:
        self.told.put((event.event_type, str(event.event_information.TransactionUID)))
        return 0x0000, None

    def begin(self, call: Any, *given: Any) -> None:
        self.threads.append(threading.Thread(target=call, args=given))
        self.threads[-1].start()

    def check(self, transaction: str) -> None:
        assert self.told.get(timeout=10) == (1, transaction)
        assert self.statuses.get(timeout=10) == 0
        for thread in self.threads:
            thread.join(10)


def commit(assoc: Any, transaction: str) -> None:
    status, _ = assoc.send_n_action(
        data(TransactionUID=transaction), 1, COMMITMENT, StorageCommitmentPushModelInstance
    )
    assert status.Status == 0


SIDES: dict[str, tuple[Any, Any]] = {"dicomnet": (AE, evt), "pynetdicom": (pynetdicom.AE, foreign_evt)}


@pytest.mark.parametrize(("scu", "scp"), [("dicomnet", "pynetdicom"), ("pynetdicom", "dicomnet")])
def test_a_report_on_the_same_association(scu: str, scp: str) -> None:
    (scu_ae, scu_evt), (scp_ae, scp_evt) = SIDES[scu], SIDES[scp]
    reports = Reports()

    def on_action(event: Any) -> tuple[int, None]:
        reports.begin(reports.report, event.assoc, str(event.action_information.TransactionUID))
        return 0x0000, None

    acceptor, requestor = scp_ae(), scu_ae()
    acceptor.add_supported_context(COMMITMENT)
    server = acceptor.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(scp_evt.EVT_N_ACTION, on_action)]
    )
    try:
        requestor.add_requested_context(COMMITMENT)
        assoc = requestor.associate(
            "127.0.0.1",
            server.server_address[1],
            evt_handlers=[(scu_evt.EVT_N_EVENT_REPORT, reports.on_report)],
        )
        assert assoc.is_established
        for transaction in ("1.2.1", "1.2.2"):
            commit(assoc, transaction)
            reports.check(transaction)
        assoc.release()
        assert assoc.is_released
    finally:
        server.shutdown()


@pytest.mark.parametrize("has_role", [True, False])
@pytest.mark.parametrize(("scu", "scp"), [("dicomnet", "pynetdicom"), ("pynetdicom", "dicomnet")])
def test_a_report_on_an_association_that_the_scp_opens(scu: str, scp: str, has_role: bool) -> None:
    """M029 S043."""
    (scu_ae, scu_evt), (scp_ae, _) = SIDES[scu], SIDES[scp]
    build = (build_context, build_role) if scp == "dicomnet" else _foreign_builders()
    reports = Reports()
    waiting = scu_ae()
    waiting.add_supported_context(COMMITMENT, scu_role=False, scp_role=True)
    server = waiting.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(scu_evt.EVT_N_EVENT_REPORT, reports.on_report)]
    )
    try:
        assoc = scp_ae().associate(
            "127.0.0.1",
            server.server_address[1],
            [build[0](COMMITMENT)],
            ext_neg=[build[1](COMMITMENT, scp_role=True)] if has_role else [],
        )
        assert assoc.is_established
        reports.report(assoc, "1.2.3")
        reports.check("1.2.3")
        assoc.release()
    finally:
        server.shutdown()


def _foreign_builders() -> tuple[Any, Any]:
    return pynetdicom.build_context, pynetdicom.build_role


# -- print, with DCMTK


def write_printer(folder: Path, port: int, kind: str) -> Path:
    """A configuration of DCMTK's print tools with one printer, ours or theirs."""
    (folder / "database").mkdir()
    config = folder / "print.cfg"
    config.write_text(
        "[[GENERAL]]\n[PRINT]\nDirectory = database\n[DATABASE]\nDirectory = database\n[LUT]\nDirectory = .\n"
        "[NETWORK]\nAetitle = REQUESTOR\n[[COMMUNICATION]]\n[PRINTER]\nAetitle = ACCEPTOR\n"
        f"Description = printer\nHostname = 127.0.0.1\nPort = {port}\nType = {kind}\nDisplayFormat = 1,1\n"
        "FilmSizeID = 8INX10IN\nFilmDestination = MAGAZINE\nMediumType = PAPER\nMaxPDU = 16384\n"
        "ImplicitOnly = true\nBorderDensity = BLACK\nEmptyImageDensity = BLACK\n"
        "SupportsPresentationLUT = false\n"
    )
    return config


@pytest.mark.parametrize("name", OUR_SCUS)
def test_our_scu_prints_on_dcmtks_printer(name: str, tmp_path: Path) -> None:
    port = free_port()
    config = write_printer(tmp_path, port, "LOCALPRINTER")
    session = data(ReferencedSOPClassUID=BasicFilmSession, ReferencedSOPInstanceUID=SESSION)
    box = data(ImageDisplayFormat="STANDARD\\1,1", ReferencedFilmSessionSequence=[session])
    calls: list[Call] = [
        ("send_n_get", ([0x21100010], Printer, PrinterInstance), ON_META),
        ("send_n_create", (data(NumberOfCopies="1"), BasicFilmSession, SESSION), ON_META),
        ("send_n_set", (data(NumberOfCopies="2"), BasicFilmSession, SESSION), ON_META),
        ("send_n_create", (box, BasicFilmBox, FILM), ON_META),
        ("send_n_create", (data(NumberOfCopies="1"), BasicFilmSession), ON_META),
        ("send_n_delete", (BasicFilmBox, FILM), ON_META),
        ("send_n_delete", (BasicFilmSession, SESSION), ON_META),
        ("send_n_create", (data(NumberOfCopies="1"), BasicFilmSession), ON_META),
        ("send_n_delete", (BasicFilmSession, SESSION), ON_META),
        ("send_n_get", ([0x21100010], BasicFilmSession, SESSION), ON_META),
    ]
    with running_process([tool("dcmprscp"), "-c", str(config), "-p", "PRINTER"], tmp_path):
        wait_until(lambda: is_listening(port), what="dcmprscp listens")
        replies = OUR_SCUS[name](port, [META], calls)
    statuses = [status["Status"] for status, _ in replies]
    # There is one film session at a time, what was not told does not exist, and a session has no N-GET.
    assert statuses[:4] == [0, 0, 0, 0]
    assert statuses[5:8] == [0, 0, 0]
    assert statuses[4] != 0
    assert statuses[8:] == [0x0112, 0x0118]
    assert replies[0][1] == {"PrinterStatus": "NORMAL"}
    assert replies[2][1] == {"NumberOfCopies": 2}
    film = replies[3][1]
    assert film is not None
    assert film["ReferencedImageBoxSequence"][0].ReferencedSOPClassUID == BasicGrayscaleImageBox
    assert replies[7][0]["AffectedSOPInstanceUID"]


@pytest.mark.parametrize("name", OUR_SCPS)
def test_dcmtks_spooler_prints_on_our_printer(name: str, tmp_path: Path) -> None:
    asked: list[Asked] = []
    made = {str(each): generate_uid() for each in (BasicFilmSession, BasicFilmBox, BasicGrayscaleImageBox)}

    def printer(request: Asked) -> Any:
        asked.append(request)
        if request.service == "N-GET":
            return 0x0000, data(PrinterStatus="NORMAL", PrinterStatusInfo="")
        if request.service == "N-CREATE":
            reply = data(AffectedSOPInstanceUID=made[request.sop_class])
            if request.sop_class == BasicFilmBox:
                image = BasicGrayscaleImageBox
                box = data(ReferencedSOPClassUID=image, ReferencedSOPInstanceUID=made[image])
                reply.ReferencedImageBoxSequence = [box]
            return 0x0000, reply
        return 0x0000

    with contextlib.ExitStack() as stack:
        port = stack.enter_context(OUR_SCPS[name]([META], printer))
        config = write_printer(tmp_path, port, "PRINTER")
        write_image(tmp_path / "image.dcm")
        done = run_tool([tool("dcmpsprt"), "-c", str(config), "-p", "PRINTER", "image.dcm"], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        jobs = [str(each) for each in (tmp_path / "database").glob("SP_*.dcm")]
        done = run_tool([tool("dcmprscu"), "-c", str(config), "-p", "PRINTER", *jobs], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert [(each.service, each.sop_class, each.instance) for each in asked] == [
        ("N-GET", Printer, PrinterInstance),
        ("N-CREATE", BasicFilmSession, None),
        ("N-CREATE", BasicFilmBox, None),
        ("N-SET", BasicGrayscaleImageBox, made[BasicGrayscaleImageBox]),
        ("N-ACTION", BasicFilmBox, made[BasicFilmBox]),
        ("N-DELETE", BasicFilmBox, made[BasicFilmBox]),
        ("N-DELETE", BasicFilmSession, made[BasicFilmSession]),
    ]
    pixels = asked[3].dataset
    assert pixels is not None
    assert pixels["BasicGrayscaleImageSequence"][0].Rows > 0
    assert asked[4].type_id == 1


def write_image(path: Path) -> None:
    """A Secondary Capture image of 16 by 16 pixels."""
    image = data(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.7",
        SOPInstanceUID=generate_uid(),
        StudyInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        Modality="OT",
        PatientName="Doe^Jane",
        PatientID="1",
        ConversionType="DI",
        InstanceNumber=1,
        SamplesPerPixel=1,
        PhotometricInterpretation="MONOCHROME2",
        Rows=16,
        Columns=16,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=bytes(range(256)),
    )
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)

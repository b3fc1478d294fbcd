"""Records the PDUs of real peers, DCMTK's tools and pynetdicom, into ``tests/golden``, through a recorder on loopback.

``python tools/capture_golden.py`` rewrites the folder. It needs DCMTK on the path and pynetdicom 3.0.4. The fields
in ``index.json`` are decoded from the bytes by pynetdicom, and checked against the options given to the peer.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pynetdicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, build_context, build_role, evt
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from golden_recorder import (
    DEADLINE,
    HOST,
    Golden,
    Peer,
    Recorder,
    connect,
    free_port,
    greetings,
    no_data_sets,
)

FILM_SESSION = "1.2.840.10008.5.1.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"
PRINTER = "1.2.840.10008.5.1.1.16"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

REQUESTOR, ACCEPTOR, DESTINATION = "REQUESTOR", "ACCEPTOR", "DESTINATION"
STUDY = "1.2.826.0.1.3680043.10.1234.1"
INSTANCE = STUDY + ".1.{}"
NAMED = {"calling_ae_title": REQUESTOR, "called_ae_title": ACCEPTOR}
SCU = Peer("pynetdicom", "AE.associate", pynetdicom.__version__)
SCP = Peer("pynetdicom", "AE.start_server", pynetdicom.__version__)
BASIC: list[str | UID] = [IMPLICIT, EXPLICIT]
PRINT_SESSION = STUDY + ".2"
PRINTER_INSTANCE = "1.2.840.10008.5.1.1.17"
STEP = STUDY + ".3"


def small_object(number: int) -> Dataset:
    """A Secondary Capture image of 2 by 2 pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(EXPLICIT)
    meta.MediaStorageSOPClassUID = UID(SECONDARY_CAPTURE)
    meta.MediaStorageSOPInstanceUID = UID(INSTANCE.format(number))
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = SECONDARY_CAPTURE
    dataset.SOPInstanceUID = INSTANCE.format(number)
    dataset.StudyDate = "20200101"
    dataset.StudyTime = "120000"
    dataset.AccessionNumber = "A1"
    dataset.Modality = "OT"
    dataset.PatientName = "Doe^Jane"
    dataset.PatientID = "ID1"
    dataset.StudyInstanceUID = STUDY
    dataset.SeriesInstanceUID = STUDY + ".1"
    dataset.StudyID = "S1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = number
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = 2
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = b"\x00\x40\x80\xc0"
    return dataset


def small_files(work: Path, count: int) -> list[str]:
    names = []
    for number in range(1, count + 1):
        path = work / f"{number}.dcm"
        small_object(number).save_as(path, enforce_file_format=True)
        names.append(str(path))
    return names


def dcmtk(tool: str) -> Peer:
    banner = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r" v(\S+) ", banner)
    if found is None:
        raise RuntimeError(f"{tool} does not print its version")
    return Peer("DCMTK", tool, found[1])


def run(tool: str, port: int, *options: str, after: tuple[str, ...] = ()) -> None:
    """Run one of DCMTK's SCUs to its end, and ignore its exit status."""
    titles = ("-aet", REQUESTOR, "-aec", ACCEPTOR)
    command = [tool, "-q", *titles, *options, HOST, str(port), *after]
    subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False)


@contextmanager
def serving(work: Path, tool: str, *options: str, listens_on: int | None = None) -> Iterator[int]:
    """Run one of DCMTK's SCPs, with a free port unless its configuration names one; yields the port."""
    port = listens_on or free_port()
    command = [tool, "-q", *options, *([] if listens_on else [str(port)])]
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(DEADLINE)


@contextmanager
def archive(work: Path, *options: str, destination: int = 0) -> Iterator[int]:
    """Run dcmqrscp with three small images in it; yields its port."""
    storage = work / "db"
    storage.mkdir()
    port = free_port()
    config = work / "archive.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\ndestination = ({DESTINATION}, {HOST}, {destination or 1})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ACCEPTOR} {storage} RW (10, 64mb) ANY\nAETable END\n"
    )
    with serving(work, "dcmqrscp", "-c", str(config), *options, listens_on=port):
        connect(port).close()
        if not options:
            run("storescu", port, "-R", after=tuple(small_files(work, 3)))
        yield port


def dcmtk_echo(golden: Golden, work: Path) -> None:
    with serving(work, "storescp") as port:
        with golden.recording("dcmtk-echo", dcmtk("echoscu"), dcmtk("storescp"), port, NAMED) as near:
            run("echoscu", near, "-ppc", "2", "-pts", "3", "-pdu", "32768")
        with golden.recording("dcmtk-abort", dcmtk("echoscu"), None, port, NAMED) as near:
            run("echoscu", near, "--abort")


def dcmtk_store(golden: Golden, work: Path) -> None:
    with serving(work, "storescp", "-aet", ACCEPTOR, "-od", str(work)) as port:
        with golden.recording("dcmtk-store", dcmtk("storescu"), dcmtk("storescp"), port, NAMED) as near:
            run("storescu", near, "-R", "--combine", after=tuple(small_files(work, 2)))
        with golden.recording("dcmtk-all-storage", dcmtk("storescu"), dcmtk("storescp"), port, NAMED) as near:
            run("storescu", near, after=tuple(small_files(work, 1)))
    with serving(work, "storescp", "--ignore", "--abort-after") as port:
        with golden.recording("dcmtk-acceptor-abort", None, dcmtk("storescp"), port) as near:
            run("storescu", near, "-R", after=tuple(small_files(work, 1)))


def dcmtk_second_request(golden: Golden, work: Path) -> None:
    with serving(work, "storescp") as port:
        with golden.recording("dcmtk-second-request", None, dcmtk("storescp"), port) as near:
            insist(near, golden.first("A-ASSOCIATE-RQ"))


def dcmtk_reject(golden: Golden, work: Path) -> None:
    with archive(work) as port:
        with golden.recording("dcmtk-reject-called", None, dcmtk("dcmqrscp"), port) as near:
            run("echoscu", near, "-aec", "NOBODY")


def dcmtk_refuse(golden: Golden, work: Path) -> None:
    with archive(work, "--refuse") as port:
        with golden.recording("dcmtk-refuse", None, dcmtk("dcmqrscp"), port) as near:
            run("echoscu", near)


def dcmtk_query_retrieve(golden: Golden, work: Path) -> None:
    keys: tuple[str, ...] = ("-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={STUDY}")
    keys += ("-k", f"SeriesInstanceUID={STUDY}.1", "-k", "SOPInstanceUID")
    one = (*keys[:-1], f"SOPInstanceUID={INSTANCE.format(1)}")
    node = dcmtk("dcmqrscp")
    with serving(work, "storescp", "--ignore") as store:
        destination = Recorder(store)
        with archive(work, destination=destination.port) as port:
            with golden.recording("dcmtk-find", dcmtk("findscu"), node, port, NAMED) as near:
                run("findscu", near, *keys)
            with golden.recording("dcmtk-find-cancel", dcmtk("findscu"), None, port, NAMED) as near:
                run("findscu", near, "--cancel", "1", *keys)
            with golden.recording("dcmtk-get", dcmtk("getscu"), node, port, NAMED) as near:
                run("getscu", near, "--ignore", *one)
            with golden.recording("dcmtk-move", dcmtk("movescu"), node, port, NAMED) as near:
                run("movescu", near, "-aem", DESTINATION, *one)
        destination.close()
        golden.keep_connection("dcmtk-move-store", node, None, destination)


def dcmtk_terminate(golden: Golden, work: Path) -> None:
    with archive(work, "--allow-shutdown") as port:
        with golden.recording("dcmtk-terminate", dcmtk("termscu"), dcmtk("dcmqrscp"), port, NAMED) as near:
            run("termscu", near)


def dcmtk_identity(golden: Golden, work: Path) -> None:
    """Requests of DCMTK with a user identity, roles and extended negotiation, which pynetdicom answers."""
    profile = work / "storescu.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Basic]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Store]\n"
        "PresentationContext1 = SecondaryCaptureImageStorage\\Basic\n"
        "[[SCPSCURoleSelection]]\n[Roles]\nRole1 = SecondaryCaptureImageStorage\\BOTH\n"
        "[[ExtendedNegotiation]]\n[Bytes]\n"
        "ExtendedNegotiation1 = SecondaryCaptureImageStorage\\020001000200\n"
        "[[Profiles]]\n[Neutral]\nPresentationContexts = Store\nSCPSCURoleSelection = Roles\n"
        "ExtendedNegotiation = Bytes\n"
    )
    token = work / "token"
    token.write_bytes(b"neutral token\n")
    ways = {
        "user": ("-usr", "user"),
        "passcode": ("-usr", "user", "-pwd", "passcode", "-rsp"),
        "kerberos": ("-kt", str(token), "-rsp"),
        "saml": ("--saml", str(token), "-rsp"),
        "jwt": ("--jwt", str(token)),
        "profile": ("-xf", str(profile), "Neutral"),
    }
    with pynetdicom_server() as port:
        for name, options in ways.items():
            scenario = f"dcmtk-identity-{name}"
            with golden.recording(scenario, dcmtk("storescu"), SCP, port, NAMED, keep=greetings) as near:
                required = () if name == "profile" else ("-R",)
                run("storescu", near, *required, *options, after=tuple(small_files(work, 1)))


def dcmtk_print(golden: Golden, work: Path) -> None:
    """N-service requests of pynetdicom that DCMTK's dcmprscp answers."""
    port = free_port()
    config = work / "print.cfg"
    config.write_text(
        "[[GENERAL]]\n[PRINT]\nDirectory = .\n[DATABASE]\nDirectory = .\n[LUT]\nDirectory = .\n"
        f"[[COMMUNICATION]]\n[PRINTER]\nAetitle = {ACCEPTOR}\nDescription = printer\nHostname = {HOST}\n"
        f"Port = {port}\nType = LOCALPRINTER\nDisplayFormat = 1,1\nFilmSizeID = 8INX10IN\n"
        "FilmDestination = MAGAZINE\nMediumType = PAPER\nMaxPDU = 16384\nImplicitOnly = true\n"
        "BorderDensity = BLACK\nEmptyImageDensity = BLACK\nSupportsPresentationLUT = true\n"
    )
    film_box, film = "1.2.840.10008.5.1.1.2", STUDY + ".4"
    session = reply(ReferencedSOPClassUID=FILM_SESSION, ReferencedSOPInstanceUID=PRINT_SESSION)
    box = reply(ImageDisplayFormat="STANDARD\\1,1", ReferencedFilmSessionSequence=[session])
    meta = {"meta_uid": "1.2.840.10008.5.1.1.9"}
    with serving(work, "dcmprscp", "-c", str(config), "-p", "PRINTER", listens_on=port):
        with golden.recording("dcmtk-print", None, dcmtk("dcmprscp"), port, NAMED, keep=no_data_sets) as near:
            association = associate(near, list(meta.values()))
            association.send_n_get([0x21100010], PRINTER, PRINTER_INSTANCE, 1, **meta)
            association.send_n_create(reply(NumberOfCopies="1"), FILM_SESSION, PRINT_SESSION, 2, **meta)
            association.send_n_set(reply(NumberOfCopies="2"), FILM_SESSION, PRINT_SESSION, 3, **meta)
            association.send_n_create(box, film_box, film, 4, **meta)
            association.send_n_action(None, 1, film_box, film, 5, **meta)
            association.send_n_delete(film_box, film, 6, **meta)
            association.send_n_delete(FILM_SESSION, PRINT_SESSION, 7, **meta)
            association.release()


def insist(port: int, request: bytes) -> None:
    """Send an A-ASSOCIATE-RQ twice, which is an error, and wait for the provider's A-ABORT."""
    with connect(port) as talk:
        talk.sendall(request)
        answer = talk.recv(4096)
        talk.sendall(request)
        while answer[-10:-9] != b"\x07":
            data = talk.recv(4096)
            if not data:
                raise RuntimeError("a second A-ASSOCIATE-RQ was not answered with A-ABORT")
            answer += data


def reply(**elements: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def matches() -> list[Dataset]:
    return [
        reply(QueryRetrieveLevel="IMAGE", SOPInstanceUID=INSTANCE.format(number), RetrieveAETitle=ACCEPTOR)
        for number in (1, 2)
    ]


def on_find(event: Any) -> Iterator[tuple[int, Dataset | None]]:
    if "PatientName" in event.identifier:
        # In the scenario that cancels: one match, then nothing until C-CANCEL arrives.
        yield 0xFF00, matches()[0]
        for _ in range(int(DEADLINE * 20)):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            threading.Event().wait(0.05)
    for match in matches():
        yield 0xFF00, match


def on_get(event: Any) -> Iterator[object]:
    yield 2
    yield 0xFF00, small_object(1)
    yield 0xFF00, small_object(2)


def on_move(event: Any, port: int) -> Iterator[object]:
    yield HOST, port, {"contexts": [build_context(SECONDARY_CAPTURE, BASIC)]}
    yield 1
    yield 0xFF00, small_object(1)


def pynetdicom_handlers(move_port: int) -> list[Any]:
    def done(event: Any) -> tuple[int, Dataset]:
        return 0x0000, reply(PrinterStatus="NORMAL")

    return [
        (evt.EVT_C_ECHO, lambda event: 0x0000),
        (evt.EVT_C_STORE, lambda event: 0x0000),
        (evt.EVT_C_FIND, on_find),
        (evt.EVT_C_GET, on_get),
        (evt.EVT_C_MOVE, on_move, [move_port]),
        (evt.EVT_N_EVENT_REPORT, done),
        (evt.EVT_N_GET, done),
        (evt.EVT_N_SET, done),
        (evt.EVT_N_ACTION, done),
        (evt.EVT_N_CREATE, done),
        (evt.EVT_N_DELETE, lambda event: 0x0112),
        (evt.EVT_USER_ID, lambda event: (True, b"server response")),
        (evt.EVT_ASYNC_OPS, lambda event: (2, 3)),
        (evt.EVT_SOP_EXTENDED, lambda event: event.app_info),
        (evt.EVT_SOP_COMMON, lambda event: event.items),
    ]


@contextmanager
def pynetdicom_server(move_port: int = 0, **settings: Any) -> Iterator[int]:
    """Run an SCP of pynetdicom that supports all SOP classes; yields its port."""
    entity = AE(ACCEPTOR)
    for name, value in settings.items():
        setattr(entity, name, value)
    supported: list[str | None] = [context.abstract_syntax for context in AllStoragePresentationContexts]
    supported += [
        VERIFICATION,
        FIND,
        GET,
        MOVE,
        FILM_SESSION,
        PRINTER,
        PROCEDURE_STEP,
    ]
    for abstract_syntax in filter(None, supported):
        entity.add_supported_context(abstract_syntax, scu_role=True, scp_role=True)
    server = entity.start_server((HOST, 0), block=False, evt_handlers=pynetdicom_handlers(move_port))
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def associate(port: int, abstract_syntaxes: list[str], called: str = ACCEPTOR, **options: Any) -> Any:
    entity = AE(REQUESTOR)
    contexts = [build_context(uid, BASIC) for uid in abstract_syntaxes]
    return entity.associate(HOST, port, contexts, called, **options)


def pynetdicom_echo(golden: Golden, work: Path) -> None:
    known = NAMED | {"contexts": [[1, VERIFICATION, [*BASIC]]]}
    with pynetdicom_server() as port:
        with golden.recording("pynetdicom-echo", SCU, SCP, port, known) as near:
            association = associate(near, [VERIFICATION], max_pdu=32768)
            association.send_c_echo(msg_id=7)
            association.release()
        with golden.recording("pynetdicom-abort", SCU, None, port, known) as near:
            associate(near, [VERIFICATION]).abort()
        with golden.recording("pynetdicom-second-request", None, SCP, port) as near:
            insist(near, golden.first("A-ASSOCIATE-RQ"))


def pynetdicom_reject(golden: Golden, work: Path) -> None:
    ways: dict[str, dict[str, Any]] = {
        "called": {"require_called_aet": True},
        "calling": {"require_calling_aet": ["NOBODY"]},
    }
    for name, settings in ways.items():
        with pynetdicom_server(**settings) as port:
            with golden.recording(f"pynetdicom-reject-{name}", None, SCP, port) as near:
                associate(near, [VERIFICATION], called="OTHER")
    with pynetdicom_server(maximum_associations=1) as port:
        first = associate(port, [VERIFICATION])
        with golden.recording("pynetdicom-reject-limit", None, SCP, port) as near:
            associate(near, [VERIFICATION])
        first.release()


def identity(kind: int, primary: bytes, secondary: bytes | None, wants_response: bool) -> Any:
    item = UserIdentityNegotiation()
    item.user_identity_type = kind
    item.primary_field = primary
    if secondary is not None:
        item.secondary_field = secondary
    item.positive_response_requested = wants_response
    return item


def pynetdicom_negotiation(golden: Golden, work: Path) -> None:
    """Every sub-item of the user information item in one request, then each type of user identity."""
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 5
    window.maximum_number_operations_performed = 6
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid = FIND
    extended.service_class_application_information = b"\x01\x01\x00\x01\x00"
    common = SOPClassCommonExtendedNegotiation()
    common.sop_class_uid = SECONDARY_CAPTURE
    common.service_class_uid = "1.2.840.10008.4.2"
    common.related_general_sop_class_identification = [CT, VERIFICATION]
    roles = [
        build_role(SECONDARY_CAPTURE, scu_role=True, scp_role=True),
        build_role(CT, scu_role=False, scp_role=True),
    ]
    items = [*roles, common, extended, window, identity(2, b"user", b"passcode", True)]
    proposed = [VERIFICATION, SECONDARY_CAPTURE, CT, "1.2.826.0.1.3680043.10.1234.9"]
    proposed.append(FIND)
    with pynetdicom_server() as port:
        with golden.recording("pynetdicom-negotiation", SCU, SCP, port, NAMED) as near:
            associate(near, proposed, ext_neg=items).release()
        for kind, primary in {1: b"user", 3: b"ticket", 4: b"<assertion/>", 5: b"a.b.c"}.items():
            scenario = f"pynetdicom-identity-{kind}"
            with golden.recording(scenario, SCU, SCP, port, NAMED, keep=greetings) as near:
                associate(near, [VERIFICATION], ext_neg=[identity(kind, primary, None, kind != 1)]).release()
    with serving(work, "storescp") as port:
        with golden.recording("pynetdicom-to-dcmtk", None, dcmtk("storescp"), port, NAMED) as near:
            associate(near, proposed, ext_neg=items).release()


def pynetdicom_many_contexts(golden: Golden, work: Path) -> None:
    with pynetdicom_server() as port:
        with golden.recording("pynetdicom-128-contexts", SCU, SCP, port, NAMED) as near:
            associate(near, [CT] * 128).release()


def pynetdicom_services(golden: Golden, work: Path) -> None:
    identifier = reply(QueryRetrieveLevel="IMAGE", StudyInstanceUID=STUDY, SOPInstanceUID="")
    cancelled = reply(QueryRetrieveLevel="IMAGE", PatientName="*")
    accept_store = [(evt.EVT_C_STORE, lambda event: 0xB000)]
    with pynetdicom_server() as store:
        destination = Recorder(store)
        with pynetdicom_server(destination.port) as port:
            with golden.recording("pynetdicom-store", SCU, SCP, port, NAMED) as near:
                association = associate(near, [SECONDARY_CAPTURE])
                association.send_c_store(small_object(1), 1, 0, "ORIGINATOR", 9)
                association.release()
            with golden.recording("pynetdicom-find", SCU, SCP, port, NAMED) as near:
                association = associate(near, [FIND])
                list(association.send_c_find(identifier, FIND, 3))
                association.release()
            with golden.recording("pynetdicom-find-cancel", SCU, SCP, port, NAMED) as near:
                association = associate(near, [FIND])
                for number, _ in enumerate(association.send_c_find(cancelled, FIND, 4)):
                    if number == 0:
                        association.send_c_cancel(4, query_model=FIND)
                association.release()
            with golden.recording("pynetdicom-get", SCU, SCP, port, NAMED) as near:
                association = associate(
                    near,
                    [GET, SECONDARY_CAPTURE],
                    ext_neg=[build_role(SECONDARY_CAPTURE, scp_role=True)],
                    evt_handlers=accept_store,
                )
                list(association.send_c_get(identifier, GET, 5))
                association.release()
            with golden.recording("pynetdicom-move", SCU, SCP, port, NAMED) as near:
                association = associate(near, [MOVE])
                list(association.send_c_move(identifier, DESTINATION, MOVE, 6))
                association.release()
        destination.close()
        golden.keep_connection("pynetdicom-move-store", SCP, None, destination)


def pynetdicom_n_services(golden: Golden, work: Path) -> None:
    step = reply(PerformedProcedureStepStatus="IN PROGRESS", Modality="OT")
    session = reply(NumberOfCopies="1")
    with pynetdicom_server() as port:
        with golden.recording("pynetdicom-n-services", SCU, SCP, port, NAMED) as near:
            association = associate(near, [PROCEDURE_STEP, FILM_SESSION, PRINTER])
            association.send_n_create(step, PROCEDURE_STEP, STEP, 1)
            association.send_n_set(step, PROCEDURE_STEP, STEP, 2)
            association.send_n_get([0x00100010, 0x21100010], PRINTER, PRINTER_INSTANCE, 3)
            association.send_n_action(session, 1, FILM_SESSION, PRINT_SESSION, 4)
            association.send_n_delete(FILM_SESSION, PRINT_SESSION, 5)
            association.send_n_event_report(session, 2, PRINTER, PRINTER_INSTANCE, 6)
            association.release()


SCENARIOS = (
    dcmtk_echo,
    dcmtk_store,
    dcmtk_second_request,
    dcmtk_reject,
    dcmtk_refuse,
    dcmtk_query_retrieve,
    dcmtk_terminate,
    dcmtk_identity,
    dcmtk_print,
    pynetdicom_echo,
    pynetdicom_reject,
    pynetdicom_negotiation,
    pynetdicom_many_contexts,
    pynetdicom_services,
    pynetdicom_n_services,
)


def main() -> int:
    golden = Golden()
    for scenario in SCENARIOS:
        with tempfile.TemporaryDirectory() as work:
            scenario(golden, Path(work))
            golden.refuse_traces_of(Path(work))
    golden.check_complete()
    size = golden.write(Path(__file__).resolve().parent.parent / "tests" / "golden")
    print(f"{len(golden.entries)} PDUs, {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

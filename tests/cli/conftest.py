"""A peer inside the test process, DCMTK's storage SCP and archive, and files to send."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from tests.cli.command import run
from tests.support import free_port, is_listening, running_process, tool, wait_until

from dicomnet import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts
from dicomnet.pynetdicom.events import EventHandlerType
from dicomnet.pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, Verification

TEST_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
CT = TEST_FILES / "CT_small.dcm"
MR = TEST_FILES / "MR_small.dcm"

StartPeer = Callable[..., int]


@pytest.fixture
def start_peer() -> Iterator[StartPeer]:
    """Start an AE in this process: its handlers, optionally its TLS context and further SOP classes; gives its port."""
    with ExitStack() as stack:

        def start(
            handlers: Sequence[EventHandlerType] = (),
            *,
            tls: ssl.SSLContext | None = None,
            strict: bool = False,
            contexts: Sequence[str] = (),
        ) -> int:
            ae = AE("TESTSCP")
            ae.require_called_aet = strict
            ae.maximum_pdu_size = 0
            for context in AllStoragePresentationContexts[:100]:
                ae.add_supported_context(context.abstract_syntax or "", ALL_TRANSFER_SYNTAXES)
            ae.add_supported_context(Verification)
            for each in (StudyRootQueryRetrieveInformationModelFind, *contexts):
                ae.add_supported_context(each)
            server = ae.start_server(
                ("127.0.0.1", 0), block=False, evt_handlers=list(handlers), ssl_context=tls
            )
            assert server is not None
            stack.callback(server.shutdown)
            return server.server_address[1]

        yield start


@dataclass(frozen=True, slots=True)
class StoreSCP:
    """DCMTK's storescp, and where it puts what it receives."""

    port: int
    folder: Path

    @property
    def address(self) -> str:
        """As a peer is written."""
        return f"STORESCP@127.0.0.1:{self.port}"

    def received(self) -> set[str]:
        """The SOP Instance UIDs of what has arrived."""
        return {str(pydicom.dcmread(path).SOPInstanceUID) for path in self.folder.iterdir()}


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[StoreSCP]:
    folder = tmp_path / "received"
    folder.mkdir()
    port = free_port()
    with running_process([tool("storescp"), "-od", str(folder), str(port)], tmp_path):
        wait_until(lambda: is_listening(port), what="storescp listens")
        yield StoreSCP(port, folder)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with two objects, one of them in a folder inside, and two files that are none."""
    folder = tmp_path / "study"
    (folder / "series").mkdir(parents=True)
    shutil.copy(CT, folder / "ct.dcm")
    shutil.copy(MR, folder / "series" / "mr")
    (folder / "notes.txt").write_text("no image")
    (folder / "empty").touch()
    return folder


CONFIGURATION = """\
NetworkTCPPort = {port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
ARCHIVE {folder} RW (100, 100mb) ANY
AETable END
"""


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DCMTK's archive with two studies, of one patient each; its address as a peer is written."""
    folder = tmp_path_factory.mktemp("archive")
    (folder / "store").mkdir()
    port = free_port()
    (folder / "dcmqrscp.cfg").write_text(CONFIGURATION.format(port=port, folder=folder / "store"))
    command = [tool("dcmqrscp"), "-c", str(folder / "dcmqrscp.cfg"), str(port)]
    with running_process(command, folder):
        wait_until(lambda: is_listening(port), what="dcmqrscp listens")
        address = f"ARCHIVE@127.0.0.1:{port}"
        assert run("store", address, CT, MR).returncode == 0
        yield address

"""`storescu` and `storescp`: against pynetdicom's, against DCMTK, and what they do where something is wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, evt
from tests.apps.tools import (
    CT,
    JPEG_2000,
    MR,
    OURS,
    PACKAGES,
    RT_PLAN,
    THEIRS,
    foreign_scp,
    run,
    running_scp,
)
from tests.sockets import VERIFICATION
from tests.support import data_set_of, free_port, run_tool, tool

from dicomnet.apps.receiving import file_name
from dicomnet.services.sop_classes import SOP_CLASSES

EVERY_KIND = (CT, MR, JPEG_2000, RT_PLAN)


def data_sets(folder: Path) -> dict[str, bytes]:
    """The data set of each file of a folder, by name."""
    return {path.name: data_set_of(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What pynetdicom's tools make of files of every kind."""
    folder = tmp_path_factory.mktemp("reference")
    with running_scp(folder, "storescp", "-od", "received", package=THEIRS) as port:
        done = run("storescu", "127.0.0.1", str(port), "-cx", *EVERY_KIND, package=THEIRS)
        assert done.returncode == 0, done.stderr
    return data_sets(folder / "received")


@pytest.mark.parametrize(("scu", "scp"), [(OURS, THEIRS), (THEIRS, OURS), (OURS, OURS)])
def test_files_arrive_under_the_same_names(
    scu: str, scp: str, reference: dict[str, bytes], tmp_path: Path
) -> None:
    with running_scp(tmp_path, "storescp", "-od", "received", package=scp) as port:
        done = run("storescu", "127.0.0.1", str(port), "-cx", *EVERY_KIND, package=scu)
        assert (done.returncode, done.stderr) == (0, "")
    assert data_sets(tmp_path / "received") == reference


def test_files_of_dcmtk_arrive(tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", "-od", "received") as port:
        done = run_tool([tool("storescu"), "-R", "127.0.0.1", str(port), str(CT), str(MR)])
        assert done.returncode == 0, done.stderr
    # DCMTK encodes data sets anew.
    received = {path.name[:2]: dcmread(path) for path in (tmp_path / "received").iterdir()}
    assert received["CT"].PixelData == dcmread(CT).PixelData
    assert received["MR"].PixelData == dcmread(MR).PixelData


def test_dcmtk_reads_what_was_written(tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", "-od", "received") as port:
        assert run("storescu", "127.0.0.1", str(port), CT, MR).returncode == 0
    for path in (tmp_path / "received").iterdir():
        assert run_tool([tool("dcmdump"), "+f", str(path)]).returncode == 0


def test_each_sop_class_has_the_prefix_that_pynetdicom_gives(tmp_path: Path) -> None:
    """The names are those that its storescp wrote for a data set of each class."""
    with running_scp(tmp_path, "storescp", package=THEIRS) as port:
        for begin in (0, 100):
            ae = AE()
            uids = [str(each.abstract_syntax) for each in AllStoragePresentationContexts[begin : begin + 100]]
            for uid in uids:
                ae.add_requested_context(uid, ImplicitVRLittleEndian)
            assoc = ae.associate("127.0.0.1", port)
            for uid in uids:
                dataset = Dataset()
                dataset.SOPClassUID = uid
                dataset.SOPInstanceUID = f"{uid}.99"
                dataset.file_meta = FileMetaDataset()
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
                assert assoc.send_c_store(dataset).Status == 0
            assoc.release()
    written = {path.name for path in tmp_path.iterdir()} - {"output.txt"}
    assert written == {
        file_name(str(c.abstract_syntax), f"{c.abstract_syntax}.99") for c in AllStoragePresentationContexts
    }
    assert len(written) == len(AllStoragePresentationContexts)
    assert file_name("1.2.3", "1.2") == "UN.1.2"
    assert "1.2.3" not in SOP_CLASSES


@pytest.mark.parametrize("options", [(), ("-xi",), ("-xb",), ("-xe",)])
def test_it_proposes_the_same(options: tuple[str, ...]) -> None:
    found: list[Any] = []

    def requested(event: Any) -> None:
        contexts = event.assoc.requestor.requested_contexts
        found.append({str(each.abstract_syntax): sorted(each.transfer_syntax) for each in contexts})

    with foreign_scp([(evt.EVT_REQUESTED, requested), (evt.EVT_C_STORE, lambda event: 0)]) as port:
        for package in PACKAGES:
            assert run("storescu", "127.0.0.1", str(port), *options, MR, package=package).returncode == 0
    assert found[0] == found[1]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with an image, something else, and a folder with another image."""
    folder = tmp_path / "study"
    (folder / "more").mkdir(parents=True)
    shutil.copy(CT, folder / "ct.dcm")
    shutil.copy(MR, folder / "more" / "mr")
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.mark.parametrize(("option", "count"), [((), 1), (("-r",), 2), (("--recurse",), 2)])
def test_folders(option: tuple[str, ...], count: int, study: Path) -> None:
    for package in PACKAGES:
        stored: list[str] = []

        def store(event: Any, stored: list[str] = stored) -> int:
            stored.append(str(event.request.AffectedSOPInstanceUID))
            return 0

        with foreign_scp([(evt.EVT_C_STORE, store)]) as port:
            done = run("storescu", "127.0.0.1", str(port), *option, study, package=package)
        assert (len(stored), done.returncode) == (count, 0), done.stderr
        assert "notes.txt" in done.stderr


def test_a_file_that_was_named_and_cannot_be_sent_is_a_failure(study: Path) -> None:
    with foreign_scp([(evt.EVT_C_STORE, lambda event: 0)]) as port:
        for bad in (study / "notes.txt", study / "nothing"):
            done = run("storescu", "127.0.0.1", str(port), bad, CT, "-v")
            assert (done.returncode, done.stderr.count("C-STORE: 0x0000 (Success)")) == (1, 1)
            assert run("storescu", "127.0.0.1", str(port), bad).returncode == 1


def test_what_the_peer_does_not_take_is_told(tmp_path: Path) -> None:
    with foreign_scp([(evt.EVT_C_STORE, lambda event: 0xA700)]) as port:
        refused = run("storescu", "127.0.0.1", str(port), CT)
    assert (refused.stderr, refused.returncode) == (
        f"E: C-STORE: 0xA700 (Failure)\nE: {CT} was not stored\n",
        1,
    )
    with running_scp(tmp_path, "storescp", "-xi") as port:
        unfit = run("storescu", "127.0.0.1", str(port), JPEG_2000, MR, "-v")
    assert unfit.returncode == 1
    assert "JPEG2000.dcm was not sent" in unfit.stderr
    assert "C-STORE: 0x0000 (Success)" in unfit.stderr


def test_nobody_listens() -> None:
    assert run("storescu", "127.0.0.1", str(free_port()), CT, "-q").returncode == 1


def send(port: int, sop_instance_uid: str) -> int | None:
    """Send an object by pynetdicom; gives the status."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.SOPInstanceUID = sop_instance_uid
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    ae = AE()
    ae.add_requested_context(dataset.SOPClassUID)
    assoc = ae.associate("127.0.0.1", port)
    status: int | None = assoc.send_c_store(dataset).get("Status")
    assoc.release()
    return status


def test_ignored_objects_are_received_and_not_written(tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", "--ignore", "-v", "-od", "received") as port:
        assert send(port, "1.2.3") == 0x0000
    assert not (tmp_path / "received").exists()
    assert "received CT.1.2.3" in (tmp_path / "output.txt").read_text()


def test_an_object_that_comes_again_replaces_the_first(tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", "-od", "received", "-ll", "warn") as port:
        assert (send(port, "1.2.3"), send(port, "1.2.3")) == (0, 0)
    assert [path.name for path in (tmp_path / "received").iterdir()] == ["CT.1.2.3"]
    assert "replaced" in (tmp_path / "output.txt").read_text()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", "-od", "received") as port:
        assert send(port, "../../1.2.3") == 0x0117
        assert send(port, "1.2.3") == 0
    assert [path.name for path in tmp_path.rglob("*1.2.3")] == ["CT.1.2.3"]


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with running_scp(tmp_path, "storescp", "-od", "file/received") as port:
        assert send(port, "1.2.3") == 0xA700


@pytest.mark.parametrize(("option", "is_there"), [((), True), (("--no-echo",), False)])
def test_verification(option: tuple[str, ...], is_there: bool, tmp_path: Path) -> None:
    with running_scp(tmp_path, "storescp", *option) as port:
        ae = AE()
        ae.add_requested_context(VERIFICATION)
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2")
        assoc = ae.associate("127.0.0.1", port)
        assert any(each.abstract_syntax == VERIFICATION for each in assoc.accepted_contexts) is is_there
        assoc.release()

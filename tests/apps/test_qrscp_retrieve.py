"""`qrscp`: what is stored is retrieved (C-GET, C-MOVE), by the tools of pynetdicom, of DCMTK and by ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.apps.tools import CT, JPEG_2000, MR, OURS, PACKAGES, THEIRS, run, running_scp
from tests.support import data_set_of, free_port, run_tool, tool

from dicomnet import Peer
from dicomnet.errors import ServiceRefusal
from dicomnet.exchange.results import RetrieveProgress

CT_KEYS = ("-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=1CT1")
NAME = "CT.1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"


def configure(folder: Path, **destinations: int) -> tuple[str, ...]:
    """The options of a node that knows destinations."""
    text = "".join(f"[{name}]\naddress: 127.0.0.1\nport: {port}\n" for name, port in destinations.items())
    (folder / "node.ini").write_text("[DEFAULT]\n" + text)
    store = ("--instance-location", "objects", "--database-location", "index.sqlite")
    return ("-c", "node.ini", *store)


@pytest.mark.parametrize("package", PACKAGES)
def test_getscu(package: str, tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *configure(tmp_path)) as port:
        assert run("storescu", "127.0.0.1", str(port), CT, MR).returncode == 0
        done = run("getscu", "127.0.0.1", str(port), *CT_KEYS, "-od", tmp_path / "got", package=package)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "got").iterdir()] == [NAME]


def test_getscu_of_dcmtk(tmp_path: Path) -> None:
    (tmp_path / "got").mkdir()
    with running_scp(tmp_path, "qrscp", *configure(tmp_path)) as port:
        assert run("storescu", "127.0.0.1", str(port), CT, MR).returncode == 0
        options = ("-P", *CT_KEYS, "-od", str(tmp_path / "got"))
        done = run_tool([tool("getscu"), *options, "127.0.0.1", str(port)])
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "got").iterdir())) == 1


@pytest.mark.parametrize(("scu", "destination"), [(OURS, OURS), (THEIRS, OURS), (OURS, THEIRS)])
def test_movescu(scu: str, destination: str, tmp_path: Path) -> None:
    """A compressed object arrives as it is, since the destination is asked for what the object needs."""
    received = tmp_path / "received"
    received.mkdir()
    with running_scp(received, "storescp", "-od", "objects", package=destination) as store:
        with running_scp(tmp_path, "qrscp", *configure(tmp_path, HERE=store)) as port:
            done = run("storescu", "127.0.0.1", str(port), "-cx", JPEG_2000, CT)
            assert done.returncode == 0, done.stderr
            for patient in ("8NM1", "1CT1"):
                keys = ("-k", "QueryRetrieveLevel=PATIENT", "-k", f"PatientID={patient}", "-aem", "HERE")
                done = run("movescu", "127.0.0.1", str(port), *keys, package=scu)
                assert done.returncode == 0, done.stderr
    got = {path.name[:2]: path for path in (received / "objects").iterdir()}
    assert dcmread(got["CT"]).PixelData == dcmread(CT).PixelData
    assert data_set_of(got["SC"]) == data_set_of(JPEG_2000)


def test_a_destination_that_is_not_configured(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *configure(tmp_path, HERE=free_port())) as port:
        assert run("storescu", "127.0.0.1", str(port), CT).returncode == 0
        unknown = run("movescu", "127.0.0.1", str(port), *CT_KEYS, "-aem", "NOWHERE")
        absent = run("movescu", "127.0.0.1", str(port), *CT_KEYS, "-aem", "HERE")
    assert "C-MOVE: 0xA801 (Failure)" in unknown.stderr
    assert (unknown.returncode, absent.returncode) == (1, 1)


def test_a_request_that_does_not_fit_the_model(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *configure(tmp_path)) as port:
        done = run("getscu", "127.0.0.1", str(port), "-k", "QueryRetrieveLevel=STUDY", "-S")
    assert "C-GET: 0xA900 (Failure)" in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize("damage", [os.unlink, lambda path: os.truncate(path, 140)], ids=["gone", "cut off"])
@pytest.mark.parametrize("service", ["get", "move"])
def test_an_object_whose_file_cannot_be_read_was_not_named_to_the_peer(
    service: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    """PS3.4 section C.4.2.1.4.2: the Failed SOP Instance UID List has the objects that failed."""
    here = tmp_path / "here"
    here.mkdir()
    with running_scp(here, "storescp") as store:
        with running_scp(tmp_path, "qrscp", *configure(tmp_path, HERE=store)) as port:
            assert run("storescu", "127.0.0.1", str(port), CT).returncode == 0
            uid = NAME.removeprefix("CT.")
            # Files are made behind the answer, and before one to a query.
            assert run("findscu", "127.0.0.1", str(port), *CT_KEYS).returncode == 0
            (path,) = (tmp_path / "objects").rglob(f"{uid}.dcm")
            damage(path)
            with Peer(f"127.0.0.1:{port}") as peer:
                if service == "get":
                    responses = peer.get("patient", to=tmp_path / "got", PatientID="1CT1")
                else:
                    responses = peer.move("HERE", "patient", PatientID="1CT1")
                found: list[RetrieveProgress] = []
                with pytest.raises(ServiceRefusal, match="no sub-operation"):
                    found.extend(responses)
    assert found[-1].failed_uids == (uid,)


def test_nothing_that_matches(tmp_path: Path) -> None:
    with running_scp(tmp_path, "qrscp", *configure(tmp_path)) as port:
        done = run("getscu", "127.0.0.1", str(port), *CT_KEYS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

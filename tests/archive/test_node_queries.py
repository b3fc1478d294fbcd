"""Queries of a node by a foreign requestor: what is negotiated, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation

from dicomnet import Peer
from dicomnet.archive.catalogue.options import QueryPolicy
from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms

STUDY_ROOT, PATIENT_STUDY_ONLY = "1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.3.1"
FILES = [str(get_testdata_file(name)) for name in ("CT_small.dcm", "MR_small.dcm")]


@contextmanager
def filled(folder: Path, queries: QueryPolicy | None = None) -> Iterator[Node]:
    node = Node(folder, address=("127.0.0.1", 0), terms=Terms(queries=queries or QueryPolicy()))
    node.start()
    try:
        with Peer(f"127.0.0.1:{node.address[1]}") as peer:
            assert [result.status for result in peer.store(FILES)] == [0, 0]
        yield node
    finally:
        node.shutdown()


@contextmanager
def associated(node: Node, sop_class: str, asked: bytes | None) -> Iterator[Any]:
    ae = AE()
    ae.add_requested_context(sop_class)
    items: list[Any] = []
    if asked is not None:
        item = SOPClassExtendedNegotiation()
        item.sop_class_uid = sop_class
        item.service_class_application_information = asked
        items.append(item)
    association = ae.associate("127.0.0.1", node.address[1], ext_neg=items)
    assert association.is_established
    try:
        yield association
    finally:
        association.release()


def _keys(**keys: str) -> Dataset:
    data_set = Dataset()
    for keyword, value in keys.items():
        setattr(data_set, keyword, value)
    return data_set


def _statuses(association: Any, sop_class: str, **keys: str) -> list[int]:
    return [status.Status for status, _ in association.send_c_find(_keys(**keys), sop_class)]


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"\1", b"\1"),
        (b"\1\1\1\1", b"\1\1\1\1"),
        (b"\0\0\1", b"\0\0\1"),
        (b"\1" * 7, b"\1\1\1\1\0\1\1"),
        (None, None),
    ],
)
def test_what_was_agreed_on_holds(tmp_path: Path, asked: bytes | None, answer: bytes | None) -> None:
    """S012 S020."""
    with filled(tmp_path) as node, associated(node, STUDY_ROOT, asked) as association:
        assert association.acceptor.sop_class_extended.get(STUDY_ROOT) == answer
        is_relational = answer is not None and answer[0] == 1
        relational = _statuses(association, STUDY_ROOT, QueryRetrieveLevel="SERIES", SeriesInstanceUID="")
        assert relational == ([0xFF00, 0xFF00, 0] if is_relational else [0xA900])
        fuzzy = _statuses(
            association, STUDY_ROOT, QueryRetrieveLevel="STUDY", PatientName="MR1^CompresedSamples"
        )
        assert fuzzy == ([0xFF00, 0] if answer and len(answer) > 2 else [0])


def test_a_bad_level_is_refused_and_named(tmp_path: Path) -> None:
    """S010: the association goes on."""
    with filled(tmp_path) as node, associated(node, STUDY_ROOT, None) as association:
        for keys in (
            {},
            {"QueryRetrieveLevel": ""},
            {"QueryRetrieveLevel": "FRAME"},
            {"QueryRetrieveLevel": "PATIENT"},
        ):
            ((status, _),) = association.send_c_find(_keys(StudyInstanceUID="", **keys), STUDY_ROOT)
            assert (status.Status, status.OffendingElement) == (0xA900, 0x00080052)
        found = _statuses(association, STUDY_ROOT, QueryRetrieveLevel="STUDY", StudyInstanceUID="")
        assert found == [0xFF00, 0xFF00, 0]


@pytest.mark.parametrize(
    ("asked", "said"), [(b"\0\0\0\1", ("20040118", "200000", "-0500")), (None, ("20040119", "010000", "-"))]
)
def test_moments_by_agreement(tmp_path: Path, asked: bytes | None, said: tuple[str, str, str]) -> None:
    """S024: over the network; tests/archive/catalogue/test_zones.py has the cases."""
    zoned = dcmread(FILES[0])
    zoned.SOPInstanceUID = zoned.file_meta.MediaStorageSOPInstanceUID = zoned.StudyInstanceUID = UID("1.2.9")
    zoned.StudyDate, zoned.StudyTime, zoned.TimezoneOffsetFromUTC = "20040119", "010000", "+0000"
    zoned.save_as(tmp_path / "zoned.dcm")
    with filled(tmp_path / "store") as node, Peer(f"127.0.0.1:{node.address[1]}") as peer:
        assert [result.status for result in peer.store([str(tmp_path / "zoned.dcm")])] == [0]
        with associated(node, STUDY_ROOT, asked) as association:
            keys = _keys(
                QueryRetrieveLevel="STUDY", StudyInstanceUID="1.2.9", StudyDate=said[0], StudyTime=""
            )
            keys.TimezoneOffsetFromUTC = "-0500"
            ((status, match), (final, _)) = association.send_c_find(keys, STUDY_ROOT)
        assert (status.Status, final.Status) == (0xFF00, 0)
        assert (match.StudyDate, match.StudyTime, match.get("TimezoneOffsetFromUTC", "-")) == said


def test_patients_and_studies_only(tmp_path: Path) -> None:
    with filled(tmp_path) as node, associated(node, PATIENT_STUDY_ONLY, None) as association:
        keys = {"PatientID": dcmread(FILES[0]).PatientID, "StudyInstanceUID": ""}
        assert _statuses(association, PATIENT_STUDY_ONLY, QueryRetrieveLevel="STUDY", **keys) == [0xFF00, 0]
        assert _statuses(association, PATIENT_STUDY_ONLY, QueryRetrieveLevel="SERIES", **keys) == [0xA900]


@pytest.mark.parametrize(
    ("maximum", "statuses"), [(1, [0xFF00, 0xB001]), (2, [0xFF00, 0xFF00, 0]), (None, [0xFF00, 0xFF00, 0])]
)
def test_the_number_of_matches_has_a_limit(tmp_path: Path, maximum: int | None, statuses: list[int]) -> None:
    with (
        filled(tmp_path, QueryPolicy(maximum=maximum)) as node,
        associated(node, STUDY_ROOT, None) as association,
    ):
        assert _statuses(association, STUDY_ROOT, QueryRetrieveLevel="STUDY", PatientID="") == statuses


def test_the_node_is_named_for_the_retrieval_of_what_is_found(tmp_path: Path) -> None:
    with filled(tmp_path) as node, Peer(f"127.0.0.1:{node.address[1]}") as peer:
        assert [match.RetrieveAETitle for match in peer.find("study")] == ["DICOMNET"] * 2

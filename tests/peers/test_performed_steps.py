"""`Peer.mpps` in both faces: what a pynetdicom SCP is told, and that it is what PS3.4 Table F.7.2-1 asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from dicomnet import Peer, aio
from dicomnet.errors import ServiceRefusal

MPPS = "1.2.840.10008.3.1.2.3.3"
CT = "1.2.840.10008.5.1.4.1.1.2"
# Of N-CREATE: what must have a value, and what must be there.
WITH_VALUE = [
    "ScheduledStepAttributesSequence",
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepStatus",
    "Modality",
]
THERE = [
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "ReferencedPatientSequence",
    "PerformedStationName",
    "PerformedLocation",
    "PerformedProcedureStepDescription",
    "PerformedProcedureTypeDescription",
    "ProcedureCodeSequence",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "StudyID",
    "PerformedProtocolCodeSequence",
    "PerformedSeriesSequence",
]
OF_REQUEST = [
    "StudyInstanceUID",
    "ReferencedStudySequence",
    "AccessionNumber",
    "RequestedProcedureID",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepID",
    "ScheduledProcedureStepDescription",
    "ScheduledProtocolCodeSequence",
]
OF_SERIES = [
    "PerformingPhysicianName",
    "ProtocolName",
    "OperatorsName",
    "SeriesInstanceUID",
    "SeriesDescription",
    "RetrieveAETitle",
    "ReferencedImageSequence",
    "ReferencedNonImageCompositeSOPInstanceSequence",
]


class RIS:
    """A pynetdicom SCP of MPPS."""

    def __init__(self) -> None:
        self.created: list[tuple[str, Dataset]] = []
        self.set: list[tuple[str, Dataset]] = []
        self.status = 0
        self.port = 0

    def on_create(self, event: Any) -> tuple[int, Dataset | None]:
        self.created.append((str(event.request.AffectedSOPInstanceUID), event.attribute_list))
        return self.status, event.attribute_list if not self.status else None

    def on_set(self, event: Any) -> tuple[int, Dataset | None]:
        self.set.append((str(event.request.RequestedSOPInstanceUID), event.modification_list))
        return 0, event.modification_list

    @property
    def states(self) -> list[str]:
        return [str(each.PerformedProcedureStepStatus) for _, each in self.created + self.set]


@pytest.fixture
def ris() -> Iterator[RIS]:
    found = RIS()
    ae = AE("RIS")
    ae.add_supported_context(MPPS)
    handlers: Any = [(evt.EVT_N_CREATE, found.on_create), (evt.EVT_N_SET, found.on_set)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    found.port = server.server_address[1]
    yield found
    server.shutdown()


def scheduled() -> Dataset:
    """A match of a worklist."""
    step = Dataset()
    step.Modality, step.ScheduledProcedureStepID = "CT", "S1"
    match = Dataset()
    match.PatientName, match.PatientID, match.StudyInstanceUID = "Müller^Jörg", "P1", "1.2.3"
    match.AccessionNumber = "A1"
    match.ScheduledProcedureStepSequence = [step]
    return match


def test_a_step_is_completed(ris: RIS) -> None:
    with Peer(f"127.0.0.1:{ris.port}", calling="CT1") as peer:
        with peer.mpps(scheduled(), PerformedStationName="Room 1") as step:
            assert step.state == "IN PROGRESS"
            assert repr(step) == f"<PerformedStep {step.sop_instance_uid}, IN PROGRESS>"
            step.add_series("1.2.3.4", "HEAD", images=[(CT, "1.2.3.4.5")], SeriesDescription="thin")
        assert step.state == "COMPLETED"
    ((uid, begun), (same, ended)) = (*ris.created, *ris.set)
    assert uid == same == step.sop_instance_uid
    assert all(begun[keyword].value for keyword in WITH_VALUE)
    assert [keyword for keyword in THERE if keyword not in begun] == []
    (request,) = begun.ScheduledStepAttributesSequence
    assert [keyword for keyword in OF_REQUEST if keyword not in request] == []
    assert (request.StudyInstanceUID, request.AccessionNumber, request.ScheduledProcedureStepID) == (
        "1.2.3",
        "A1",
        "S1",
    )
    assert (str(begun.PatientName), begun.PerformedStationAETitle) == ("Müller^Jörg", "CT1")
    (series,) = ended.PerformedSeriesSequence
    assert [keyword for keyword in OF_SERIES if keyword not in series] == []
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    assert ended.PerformedProcedureStepEndDate
    assert ris.states == ["IN PROGRESS", "COMPLETED"]
    # Only what was said at the beginning may be said later.
    assert {each.keyword for each in ended} - {each.keyword for each in begun} == set()


def test_a_step_whose_block_fails_is_discontinued(ris: RIS) -> None:
    with Peer(f"127.0.0.1:{ris.port}") as peer:
        step = peer.mpps(Modality="CT", StudyInstanceUID="1.2.3")
        step.add_series("1.2.3.4", "HEAD")
        with pytest.raises(OSError, match="tube"), step:
            raise OSError("tube")
        with peer.mpps(Modality="CT", StudyInstanceUID="1.2.3") as step:
            step.discontinue(("110513", "DCM", "Discontinued for unspecified reason"))
            with pytest.raises(ValueError, match="discontinued cannot be completed"):
                step.complete()
        with peer.mpps(Modality="CT", StudyInstanceUID="1.2.3"):
            """Nothing was acquired."""
    assert ris.states == ["IN PROGRESS"] * 3 + ["DISCONTINUED"] * 3
    # A series has to be there (PS3.4 Table F.7.2-1, note 2).
    assert [len(each.PerformedSeriesSequence) for _, each in ris.set] == [1, 1, 1]
    (code,) = ris.set[1][1].PerformedProcedureStepDiscontinuationReasonCodeSequence
    assert code.CodeValue == "110513"


def test_what_is_missing_or_refused_is_told(ris: RIS) -> None:
    with Peer(f"127.0.0.1:{ris.port}") as peer:
        with pytest.raises(ValueError, match="needs Modality"):
            peer.mpps(StudyInstanceUID="1.2.3")
        with pytest.raises(ValueError, match="StudyInstanceUID"):
            peer.mpps(Modality="CT")
        with peer.mpps(scheduled()) as step:
            with pytest.raises(ValueError, match="a series at least"):
                step.complete()
        ris.status = 0x0110
        refused = peer.mpps(scheduled())
        with pytest.raises(ServiceRefusal), refused:
            raise AssertionError
    assert refused.state == ""


def test_in_asyncio(ris: RIS) -> None:
    async def main() -> None:
        async with aio.Peer(f"127.0.0.1:{ris.port}") as peer:
            async with peer.mpps(scheduled()) as step:
                step.add_series("1.2.3.4", "HEAD")
                await step.complete()
            assert step.state == "COMPLETED"
            with pytest.raises(OSError, match="tube"):
                async with peer.mpps(scheduled()):
                    raise OSError("tube")

    asyncio.run(main())
    assert ris.states == ["IN PROGRESS", "IN PROGRESS", "COMPLETED", "DISCONTINUED"]

"""A Modality Performed Procedure Step (PS3.4 Annex F): what is said of it when it begins and when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..dimse.messages import Message
from ..exchange.contexts import MODALITY_PERFORMED_STEP
from ..exchange.operations import Operation, normalized

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

IN_PROGRESS, COMPLETED, DISCONTINUED = "IN PROGRESS", "COMPLETED", "DISCONTINUED"
# What has to be said when a step begins, though it may be empty, beside its ID, station, beginning, state and modality
# (PS3.4 Table F.7.2-1). What is not said then may not be said later.
_OF_PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
_OF_STEP = (
    "PerformedStationName",
    "PerformedLocation",
    "PerformedProcedureStepDescription",
    "PerformedProcedureTypeDescription",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "StudyID",
)
_SEQUENCES = (
    "ReferencedPatientSequence",
    "ProcedureCodeSequence",
    "PerformedProcedureStepDiscontinuationReasonCodeSequence",
    "PerformedProtocolCodeSequence",
    "PerformedSeriesSequence",
)
# Of the step that was scheduled: of its request, and inside its sequence in a worklist.
_OF_REQUEST = ("AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription")
_SCHEDULED = ("ScheduledProcedureStepID", "ScheduledProcedureStepDescription")
_OF_SERIES = ("PerformingPhysicianName", "OperatorsName", "SeriesDescription", "RetrieveAETitle")

# An object: SOP Class UID and SOP Instance UID.
Object = tuple[str, str]


class PerformedStepBase:
    """A performed procedure step at a peer, see `dicomnet.Peer.mpps`.

    Parameters
    ----------
    scheduled
        The match of a worklist, None for a step that was not scheduled.
    station
        Our AE title.
    attributes
        What else is to be said of it, keyword to value.

    Attributes
    ----------
    sop_instance_uid
        Its UID, of our making.
    state
        ``IN PROGRESS``, ``COMPLETED`` or ``DISCONTINUED``; empty before it has begun.

    Raises
    ------
    ValueError
        If there is neither a match nor a ``StudyInstanceUID``, no modality, or a keyword does not exist.
    """

    def __init__(self, scheduled: Dataset | None, station: str, attributes: Mapping[str, Any]) -> None:
        from pydicom.uid import generate_uid

        self.sop_instance_uid = str(generate_uid(None))
        self.state = ""
        self._series: list[Dataset] = []
        self._beginning = _beginning(scheduled, station, attributes)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.sop_instance_uid}, {self.state or 'not begun'}>"

    def add_series(
        self,
        series_instance_uid: str,
        protocol: str,
        *,
        images: Iterable[Object] = (),
        others: Iterable[Object] = (),
        **attributes: Any,
    ) -> None:
        """Say what was acquired; the peer is told when the step ends.

        Parameters
        ----------
        series_instance_uid
            Its UID.
        protocol
            Protocol Name.
        images, others
            SOP Class UID and SOP Instance UID of each image, and of each other object, such as a presentation state.
        attributes
            What else is to be said of it: ``SeriesDescription``, ``OperatorsName``, ``PerformingPhysicianName``,
            ``RetrieveAETitle``.
        """
        from ..datasets.queries import build_keys

        item = build_keys({**dict.fromkeys(_OF_SERIES), **attributes})
        item.SeriesInstanceUID = series_instance_uid
        item.ProtocolName = protocol
        item.ReferencedImageSequence = list(map(_reference, images))
        item.ReferencedNonImageCompositeSOPInstanceSequence = list(map(_reference, others))
        self._series.append(item)

    def _begin(self) -> Operation[None]:
        yield from self._say("N-CREATE", self._beginning)
        self.state = IN_PROGRESS

    def _end(self, state: str, reason: tuple[str, str, str] | None = None) -> Operation[None]:
        from pydicom.dataset import Dataset
        from pydicom.uid import generate_uid

        if self.state != IN_PROGRESS:
            raise ValueError(f"a step that is {self.state.lower() or 'not begun'} cannot be {state.lower()}")
        if not self._series:
            if state == COMPLETED:
                raise ValueError("a step that is completed has a series at least; see add_series")
            # There has to be one, which may be without objects.
            self.add_series(str(generate_uid(None)), "UNKNOWN")
        ending = Dataset()
        now = datetime.now()
        ending.PerformedProcedureStepStatus = state
        ending.PerformedProcedureStepEndDate = f"{now:%Y%m%d}"
        ending.PerformedProcedureStepEndTime = f"{now:%H%M%S}"
        ending.PerformedSeriesSequence = self._series
        if reason is not None:
            code = Dataset()
            code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = reason
            ending.PerformedProcedureStepDiscontinuationReasonCodeSequence = [code]
        ending.SpecificCharacterSet = "ISO_IR 192"
        yield from self._say("N-SET", ending)
        self.state = state

    def _leave(self, *, has_failed: bool) -> Operation[None] | None:
        """The end of a step that was not ended in its block; None where nothing is left to do."""
        if self.state != IN_PROGRESS:
            return None
        return self._end(COMPLETED if self._series and not has_failed else DISCONTINUED)

    def _say(self, service: str, data_set: Dataset) -> Operation[Message]:
        return normalized(service, MODALITY_PERFORMED_STEP, self.sop_instance_uid, data_set, "Procedure Step")


def _beginning(scheduled: Dataset | None, station: str, attributes: Mapping[str, Any]) -> Dataset:
    from pydicom.dataset import Dataset

    from ..datasets.queries import build_keys

    steps = [] if scheduled is None else scheduled.get("ScheduledProcedureStepSequence") or []
    step = steps[0] if steps else Dataset()
    known = scheduled if scheduled is not None else Dataset()
    now = datetime.now()
    made = build_keys(
        {
            **dict.fromkeys((*_OF_PATIENT, *_OF_STEP)),
            "PerformedProcedureStepID": f"{now:%y%m%d%H%M%S}",
            "PerformedStationAETitle": station,
            "PerformedProcedureStepStartDate": f"{now:%Y%m%d}",
            "PerformedProcedureStepStartTime": f"{now:%H%M%S}",
            "PerformedProcedureStepStatus": IN_PROGRESS,
            **_taken(known, _OF_PATIENT),
            **_taken(step, ("Modality",)),
            **{
                key: value
                for key, value in attributes.items()
                if key not in (*_OF_REQUEST, "StudyInstanceUID")
            },
        }
    )
    if not made.get("Modality"):
        raise ValueError("a performed procedure step needs Modality")
    for keyword in _SEQUENCES:
        if keyword not in made:
            setattr(made, keyword, known.get(keyword, []) if keyword == "ReferencedPatientSequence" else [])
    request = build_keys(
        {
            **dict.fromkeys((*_OF_REQUEST, *_SCHEDULED)),
            **_taken(known, ("StudyInstanceUID", *_OF_REQUEST)),
            **_taken(step, _SCHEDULED),
            **{key: attributes[key] for key in (*_OF_REQUEST, "StudyInstanceUID") if key in attributes},
        }
    )
    if not request.get("StudyInstanceUID"):
        raise ValueError("a performed procedure step needs the match of a worklist, or StudyInstanceUID")
    request.ReferencedStudySequence = known.get("ReferencedStudySequence", [])
    request.ScheduledProtocolCodeSequence = step.get("ScheduledProtocolCodeSequence", [])
    made.ScheduledStepAttributesSequence = [request]
    # That of a data set is that of its items, too; text of the worklist is encoded anew.
    made.SpecificCharacterSet = "ISO_IR 192"
    return made


def _taken(data_set: Dataset, keywords: Iterable[str]) -> dict[str, Any]:
    return {each: str(data_set[each].value or "") for each in keywords if each in data_set}


def _reference(found: Object) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = found
    return item

"""The values of Status (0000,0900) and their meanings: PS3.7 Annex C for all services, PS3.4 for each service class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .service_names import ServiceName

SUCCESS = "Success"
PENDING = "Pending"
WARNING = "Warning"
CANCEL = "Cancel"
FAILURE = "Failure"
UNKNOWN = "Unknown"

_BY_CODE = {
    0x0000: SUCCESS,
    0x0001: WARNING,
    0x0107: WARNING,
    0x0116: WARNING,
    0xFE00: CANCEL,
    0xFF00: PENDING,
    0xFF01: PENDING,
}
_BY_HIGH_BYTE = {
    **dict.fromkeys((0x01, 0x02, *range(0xA0, 0xB0), *range(0xC0, 0xD0)), FAILURE),
    **dict.fromkeys(range(0xB0, 0xC0), WARNING),
}


def category(code: int) -> str:
    """The status class of a code (PS3.7 section C.1).

    Parameters
    ----------
    code
        The value of Status (0000,0900).

    Returns
    -------
    str
        ``Success``, ``Pending``, ``Warning``, ``Cancel``, ``Failure``, or ``Unknown`` for a code that the standard
        does not define.
    """
    return _BY_CODE.get(code) or _BY_HIGH_BYTE.get(code >> 8, UNKNOWN)


class StatusTable(Mapping[int, tuple[str, str]]):
    """The statuses of one service, a mapping of each code to (status class, meaning).

    Parameters
    ----------
    *rows
        Code, status class and meaning. The code has four hexadecimal digits, and ``x`` in it stands for any
        digit, as in PS3.4. A row without ``x`` takes precedence over one with.
    base
        The table that these rows are added to.
    """

    __slots__ = ("_codes", "_ranges")

    def __init__(self, *rows: tuple[str, str, str], base: StatusTable | None = None) -> None:
        self._codes: dict[int, tuple[str, str]] = dict(base._codes) if base else {}
        self._ranges: list[tuple[range, tuple[str, str]]] = list(base._ranges) if base else []
        for code, status_class, meaning in rows:
            low = int(code.replace("x", "0"), 16)
            if "x" in code:
                codes = range(low, int(code.replace("x", "F"), 16) + 1)
                self._ranges.append((codes, (status_class, meaning)))
            else:
                self._codes[low] = (status_class, meaning)

    def __getitem__(self, code: int) -> tuple[str, str]:
        if (entry := self._codes.get(code)) is not None:
            return entry
        for codes, entry in self._ranges:
            if code in codes:
                return entry
        raise KeyError(code)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(set(self._codes).union(*(codes for codes, _ in self._ranges))))

    def __len__(self) -> int:
        inside = sum(any(code in codes for codes, _ in self._ranges) for code in self._codes)
        return len(self._codes) - inside + sum(len(codes) for codes, _ in self._ranges)

    def __repr__(self) -> str:
        return f"<StatusTable of {len(self)} codes>"


GENERAL = StatusTable(
    ("0000", SUCCESS, "success"),
    ("0105", FAILURE, "an attribute is not known"),
    ("0106", FAILURE, "an attribute has an invalid value"),
    ("0107", WARNING, "some attributes are not known and were passed over"),
    ("0110", FAILURE, "processing failed"),
    ("0111", FAILURE, "the SOP instance exists already"),
    ("0112", FAILURE, "the SOP instance does not exist"),
    ("0113", FAILURE, "the event type is not known"),
    ("0114", FAILURE, "an argument is not known"),
    ("0115", FAILURE, "an argument has an invalid value"),
    ("0116", WARNING, "an attribute value is out of range"),
    ("0117", FAILURE, "the SOP instance UID breaks the UID rules"),
    ("0118", FAILURE, "the SOP class is not known"),
    ("0119", FAILURE, "the SOP instance is not of that SOP class"),
    ("0120", FAILURE, "a required attribute is missing"),
    ("0121", FAILURE, "a required attribute has no value"),
    ("0122", FAILURE, "refused: the SOP class is not supported"),
    ("0123", FAILURE, "the action type is not known"),
    ("0124", FAILURE, "refused: not authorised"),
    ("0210", FAILURE, "the message ID is in use"),
    ("0211", FAILURE, "the operation is not known"),
    ("0212", FAILURE, "an argument is of the wrong type"),
    ("0213", FAILURE, "a resource is exhausted"),
    ("FE00", CANCEL, "cancelled by the requestor"),
)  # PS3.7 Annex C

VERIFICATION = GENERAL
STORAGE_COMMITMENT = GENERAL

STORAGE = StatusTable(
    ("A7xx", FAILURE, "refused: out of resources"),
    ("A9xx", FAILURE, "the data set does not match its SOP class"),
    ("B000", WARNING, "data elements were coerced"),
    ("B006", WARNING, "elements were discarded"),
    ("B007", WARNING, "stored, though the data set does not match its SOP class"),
    ("Cxxx", FAILURE, "the data set cannot be understood"),
    base=GENERAL,
)  # PS3.4 Annex B

_MATCHES = (
    ("FF00", PENDING, "a match, and more may follow"),
    ("FF01", PENDING, "a match, and more may follow; not every optional key was supported"),
)
_QUERY = (
    ("A700", FAILURE, "refused: out of resources"),
    ("A900", FAILURE, "the identifier does not match the SOP class"),
    ("Cxxx", FAILURE, "unable to process"),
)
_RETRIEVE = (
    ("A701", FAILURE, "refused: out of resources, the matches cannot be counted"),
    ("A702", FAILURE, "refused: out of resources, no sub-operation can be performed"),
    ("A900", FAILURE, "the identifier does not match the SOP class"),
    ("AA00", FAILURE, "the SOP instance has none of the frames asked for"),
    ("AA01", FAILURE, "no new SOP instance can be made for this SOP class"),
    ("AA02", FAILURE, "the frames cannot be extracted"),
    ("AA03", FAILURE, "frames were asked for by time, but the SOP instance has no time base"),
    ("AA04", FAILURE, "the request is invalid"),
    ("B000", WARNING, "sub-operations are complete, one or more failed or gave a warning"),
    ("Cxxx", FAILURE, "unable to process"),
    ("FF00", PENDING, "sub-operations continue"),
)

QR_FIND = StatusTable(
    *_QUERY,
    *_MATCHES,
    ("A710", FAILURE, "the prior record key is invalid"),
    ("B001", WARNING, "the limit of responses is reached; another request may give more matches"),
    base=GENERAL,
)  # PS3.4 Annex C
QR_GET = StatusTable(*_RETRIEVE, base=GENERAL)  # PS3.4 Annexes C, Y and Z
QR_MOVE = StatusTable(
    ("A801", FAILURE, "the move destination is not known"), base=QR_GET
)  # PS3.4 Annexes C and Y

MODALITY_WORKLIST = StatusTable(*_QUERY, *_MATCHES, base=GENERAL)  # PS3.4 Annex K
SUBSTANCE_ADMINISTRATION = MODALITY_WORKLIST  # PS3.4 Annex V

RELEVANT_PATIENT = StatusTable(
    ("A700", FAILURE, "out of resources"),
    ("A900", FAILURE, "the identifier does not match the SOP class"),
    ("C000", FAILURE, "unable to process"),
    ("C100", FAILURE, "more than one match"),
    ("C200", FAILURE, "the template asked for is not supported"),
    ("FF00", PENDING, "the match is supplied"),
    base=GENERAL,
)  # PS3.4 Annex Q

NON_PATIENT = StatusTable(
    ("A700", FAILURE, "out of resources"),
    ("A900", FAILURE, "the data set does not match its SOP class"),
    ("C000", FAILURE, "the data set cannot be understood"),
    base=GENERAL,
)  # PS3.4 Annex GG

PROCEDURE_STEP = StatusTable(
    ("0001", WARNING, "optional attributes asked for are not supported"), base=GENERAL
)  # PS3.4 Annex F

PRINT_JOB_MANAGEMENT = StatusTable(
    ("B600", WARNING, "memory allocation is not supported"),
    ("B601", WARNING, "printing a whole film session is not supported"),
    ("B602", WARNING, "the film session holds no image box: an empty page"),
    ("B603", WARNING, "the film box holds no image box: an empty page"),
    ("B604", WARNING, "the image was too large for its image box and was demagnified"),
    ("B605", WARNING, "a density was out of the printer's range and was replaced by the nearest one in it"),
    ("B609", WARNING, "the image was too large for its image box and was cropped"),
    ("B60A", WARNING, "the image was too large for its image box and was decimated"),
    ("C600", FAILURE, "the film session holds no film box"),
    ("C601", FAILURE, "no print job can be made for the film session: the queue is full"),
    ("C602", FAILURE, "no print job can be made for the film box: the queue is full"),
    ("C603", FAILURE, "the image is larger than its image box"),
    ("C605", FAILURE, "the printer has too little memory for the image"),
    ("C613", FAILURE, "the combined print image is larger than its image box"),
    ("C616", FAILURE, "a film box is not printed yet, and the film session cannot be printed as a whole"),
    base=GENERAL,
)  # PS3.4 Annex H

APPLICATION_EVENT_LOGGING = StatusTable(
    ("B101", WARNING, "the synchronization frame of reference is not the provider's"),
    ("B102", WARNING, "logged under another study instance UID"),
    ("B104", WARNING, "logged, though the IDs do not agree on a current study"),
    ("C101", FAILURE, "the study cannot be logged to"),
    ("C102", FAILURE, "the event information does not follow its template"),
    ("C103", FAILURE, "the event matches no current study"),
    ("C104", FAILURE, "not logged: the IDs do not agree on a current study"),
    ("C10E", FAILURE, "the operator may not write to the medication administration record"),
    ("C110", FAILURE, "the patient or admission ID identifies no patient"),
    ("C111", FAILURE, "the medication administration record was not updated"),
    base=GENERAL,
)  # PS3.4 Annex P

MEDIA_CREATION_MANAGEMENT = StatusTable(
    ("0001", WARNING, "optional attributes asked for are not supported"),
    ("A510", FAILURE, "media creation was already initiated for the SOP instance"),
    ("C201", FAILURE, "media creation is complete already"),
    ("C202", FAILURE, "media creation is in progress and cannot be interrupted"),
    ("C203", FAILURE, "the cancellation is denied"),
    base=GENERAL,
)  # PS3.4 Annex S

RT_MACHINE_VERIFICATION = StatusTable(
    ("C112", FAILURE, "the machine verification instance does not exist"),
    ("C221", FAILURE, "the plan has no such fraction group"),
    ("C222", FAILURE, "the fraction group has no beams"),
    ("C223", FAILURE, "another verification is in progress"),
    ("C224", FAILURE, "the fraction group has no such beam"),
    ("C225", FAILURE, "the device or accessory is not supported"),
    ("C226", FAILURE, "the beam has no such device or accessory"),
    ("C227", FAILURE, "the RT plan does not exist"),
    base=GENERAL,
)  # PS3.4 Annex DD

STORAGE_MANAGEMENT = StatusTable(
    ("B010", WARNING, "some key attributes are not supported for matching"), base=GENERAL
)

UNIFIED_PROCEDURE_STEP = StatusTable(
    ("0001", WARNING, "optional attributes asked for are not supported"),
    *_QUERY,
    *_MATCHES,
    ("B300", WARNING, "the UPS was made with modifications"),
    ("B301", WARNING, "the deletion lock is not granted"),
    ("B304", WARNING, "the UPS is CANCELED already"),
    ("B305", WARNING, "invalid values were replaced by valid ones"),
    ("B306", WARNING, "the UPS is COMPLETED already"),
    ("C300", FAILURE, "the UPS may no longer be updated"),
    ("C301", FAILURE, "the transaction UID is not the right one"),
    ("C302", FAILURE, "the UPS is IN PROGRESS already"),
    ("C303", FAILURE, "only N-CREATE makes a UPS SCHEDULED"),
    ("C304", FAILURE, "the UPS does not meet the requirements of its final state"),
    ("C307", FAILURE, "the UPS does not exist or is not managed here"),
    ("C308", FAILURE, "the receiving AE title is not known"),
    ("C309", FAILURE, "a new UPS must be SCHEDULED"),
    ("C310", FAILURE, "the UPS is not IN PROGRESS yet"),
    ("C311", FAILURE, "the UPS is COMPLETED already"),
    ("C312", FAILURE, "the performer cannot be reached"),
    ("C313", FAILURE, "the performer refuses to cancel"),
    ("C314", FAILURE, "the action does not fit the instance"),
    ("C315", FAILURE, "event reports are not supported"),
    base=GENERAL,
)  # PS3.4 Annex CC

_BY_SERVICE = {
    ServiceName.STORAGE: STORAGE,
    ServiceName.NON_PATIENT_OBJECT_STORAGE: NON_PATIENT,
    ServiceName.PROCEDURE_STEP: PROCEDURE_STEP,
    ServiceName.PRINT_MANAGEMENT: PRINT_JOB_MANAGEMENT,
    ServiceName.BASIC_WORKLIST_MANAGEMENT: MODALITY_WORKLIST,
    ServiceName.APPLICATION_EVENT_LOGGING: APPLICATION_EVENT_LOGGING,
    ServiceName.RELEVANT_PATIENT_INFORMATION_QUERY: RELEVANT_PATIENT,
    ServiceName.MEDIA_CREATION_MANAGEMENT: MEDIA_CREATION_MANAGEMENT,
    ServiceName.SUBSTANCE_ADMINISTRATION_QUERY: SUBSTANCE_ADMINISTRATION,
    ServiceName.UNIFIED_PROCEDURE_STEP: UNIFIED_PROCEDURE_STEP,
    ServiceName.RT_MACHINE_VERIFICATION: RT_MACHINE_VERIFICATION,
    ServiceName.STORAGE_MANAGEMENT: STORAGE_MANAGEMENT,
}
_BY_OPERATION = {"C-FIND": QR_FIND, "C-GET": QR_GET, "C-MOVE": QR_MOVE}


def statuses_of(service: ServiceName, operation: str = "") -> StatusTable:
    """The table of the statuses that a service may answer with.

    Parameters
    ----------
    service
        The service class.
    operation
        ``C-FIND``, ``C-GET`` or ``C-MOVE``; in a query/retrieve service class the statuses depend on it.
    """
    return _BY_SERVICE.get(service) or _BY_OPERATION.get(operation, GENERAL)

"""DIMSE statuses for users: the common ones by name, and what each service class may answer with."""

from __future__ import annotations

from enum import IntEnum

from pydicom.dataset import Dataset

from ..services import statuses as _statuses

_TABLES = {
    "GENERAL_STATUS": _statuses.GENERAL,
    "VERIFICATION_SERVICE_CLASS_STATUS": _statuses.VERIFICATION,
    "STORAGE_SERVICE_CLASS_STATUS": _statuses.STORAGE,
    "STORAGE_COMMITMENT_SERVICE_CLASS_STATUS": _statuses.STORAGE_COMMITMENT,
    "STORAGE_MANAGEMENT_SERVICE_CLASS_STATUS": _statuses.STORAGE_MANAGEMENT,
    "QR_FIND_SERVICE_CLASS_STATUS": _statuses.QR_FIND,
    "QR_GET_SERVICE_CLASS_STATUS": _statuses.QR_GET,
    "QR_MOVE_SERVICE_CLASS_STATUS": _statuses.QR_MOVE,
    "MODALITY_WORKLIST_SERVICE_CLASS_STATUS": _statuses.MODALITY_WORKLIST,
    "PROCEDURE_STEP_STATUS": _statuses.PROCEDURE_STEP,
    "UNIFIED_PROCEDURE_STEP_SERVICE_CLASS_STATUS": _statuses.UNIFIED_PROCEDURE_STEP,
    "PRINT_JOB_MANAGEMENT_SERVICE_CLASS_STATUS": _statuses.PRINT_JOB_MANAGEMENT,
    "APPLICATION_EVENT_LOGGING_SERVICE_CLASS_STATUS": _statuses.APPLICATION_EVENT_LOGGING,
    "RELEVANT_PATIENT_SERVICE_CLASS_STATUS": _statuses.RELEVANT_PATIENT,
    "MEDIA_CREATION_MANAGEMENT_SERVICE_CLASS_STATUS": _statuses.MEDIA_CREATION_MANAGEMENT,
    "NON_PATIENT_SERVICE_CLASS_STATUS": _statuses.NON_PATIENT,
    "SUBSTANCE_ADMINISTRATION_SERVICE_CLASS_STATUS": _statuses.SUBSTANCE_ADMINISTRATION,
    "RT_MACHINE_VERIFICATION_SERVICE_CLASS_STATUS": _statuses.RT_MACHINE_VERIFICATION,
}

STATUS_SUCCESS = _statuses.SUCCESS
STATUS_PENDING = _statuses.PENDING
STATUS_WARNING = _statuses.WARNING
STATUS_CANCEL = _statuses.CANCEL
STATUS_FAILURE = _statuses.FAILURE
STATUS_UNKNOWN = _statuses.UNKNOWN

__all__ = [
    "STATUS_CANCEL",
    "STATUS_FAILURE",
    "STATUS_PENDING",
    "STATUS_SUCCESS",
    "STATUS_UNKNOWN",
    "STATUS_WARNING",
    "Status",
    "code_to_category",
    "code_to_status",
    *_TABLES,
]


def __getattr__(name: str) -> dict[int, tuple[str, str]]:
    """The statuses of a service, made when it is first asked for; a program may add its own."""
    if name not in _TABLES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    table = globals()[name] = dict(_TABLES[name])
    return table


def __dir__() -> list[str]:
    return sorted({*globals(), *_TABLES})


class Status(IntEnum):
    """Names for status codes, to be used wherever a handler gives a status.

    A program may add names for codes of its own with :meth:`add`.
    """

    SUCCESS = 0x0000
    CANCEL = 0xFE00
    PENDING = 0xFF00
    MOVE_DESTINATION_UNKNOWN = 0xA801

    @classmethod
    def add(cls, name: str, code: int) -> None:
        """Make ``code`` available as ``Status.<name>``, a plain int.

        Parameters
        ----------
        name
            The attribute's name.
        code
            The value of Status (0000,0900).

        Raises
        ------
        AttributeError
            If the name is that of a member.
        """
        setattr(cls, name, code)


def code_to_status(code: int) -> Dataset:
    """A data set with nothing but Status (0000,0900).

    Parameters
    ----------
    code
        The value of Status (0000,0900).

    Raises
    ------
    ValueError
        If it is negative or not an int.
    """
    dataset = Dataset()
    dataset.Status = _checked(code)
    return dataset


def code_to_category(code: int) -> str:
    """The status class of a code (PS3.7 section C.1).

    Parameters
    ----------
    code
        The value of Status (0000,0900).

    Returns
    -------
    str
        ``Success``, ``Pending``, ``Warning``, ``Cancel``, ``Failure`` or ``Unknown``.

    Raises
    ------
    ValueError
        If it is negative or not an int.
    """
    return _statuses.category(_checked(code))


def _checked(code: int) -> int:
    if not isinstance(code, int) or code < 0:
        raise ValueError(f"a status code is an int of 0 or more, not {code!r}")
    return code

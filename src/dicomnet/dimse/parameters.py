"""The elements of the command set (PS3.7 Annex E.1) and the data-set parameters of the DIMSE services, one row each.

`messages` says which message holds which of them, and whether it is required.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ..values import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Parameter:
    """A parameter of a DIMSE service that is an element of the command set.

    Parameters
    ----------
    keyword
        Its keyword in the data dictionary, for instance ``MessageID``.
    name
        As PS3.7 writes it, for instance ``Message ID``.
    tag
        Group and element as one number, for instance ``0x00000110``.
    vr
        AE, AT, LO, UI, UL or US.
    vm
        Value multiplicity: ``1``, or ``1-n`` if the element may hold several values.
    """

    keyword: str
    name: str
    tag: int
    vr: str
    vm: str = "1"


@frozen
class DataSetParameter:
    """A parameter that is conveyed by the data set after the command set, and so has no tag of its own.

    Parameters
    ----------
    keyword
        The name of the primitive's attribute, for instance ``ModificationList``.
    name
        As PS3.7 writes it, for instance ``Modification List``.
    """

    keyword: str
    name: str


def _command_elements(table: str) -> tuple[Parameter, ...]:
    rows = [line.split(maxsplit=4) for line in table.split("\n") if line.strip()]
    return tuple(Parameter(keyword, name, int(tag, 16), vr, vm) for tag, vr, vm, keyword, name in rows)


COMMAND_ELEMENTS: tuple[Parameter, ...] = _command_elements("""
    00000000  UL  1    CommandGroupLength                    Command Group Length
    00000002  UI  1    AffectedSOPClassUID                   Affected SOP Class UID
    00000003  UI  1    RequestedSOPClassUID                  Requested SOP Class UID
    00000100  US  1    CommandField                          Command Field
    00000110  US  1    MessageID                             Message ID
    00000120  US  1    MessageIDBeingRespondedTo             Message ID Being Responded To
    00000600  AE  1    MoveDestination                       Move Destination
    00000700  US  1    Priority                              Priority
    00000800  US  1    CommandDataSetType                    Command Data Set Type
    00000900  US  1    Status                                Status
    00000901  AT  1-n  OffendingElement                      Offending Element
    00000902  LO  1    ErrorComment                          Error Comment
    00000903  US  1    ErrorID                               Error ID
    00001000  UI  1    AffectedSOPInstanceUID                Affected SOP Instance UID
    00001001  UI  1    RequestedSOPInstanceUID               Requested SOP Instance UID
    00001002  US  1    EventTypeID                           Event Type ID
    00001005  AT  1-n  AttributeIdentifierList               Attribute Identifier List
    00001008  US  1    ActionTypeID                          Action Type ID
    00001020  US  1    NumberOfRemainingSuboperations        Number of Remaining Sub-operations
    00001021  US  1    NumberOfCompletedSuboperations        Number of Completed Sub-operations
    00001022  US  1    NumberOfFailedSuboperations           Number of Failed Sub-operations
    00001023  US  1    NumberOfWarningSuboperations          Number of Warning Sub-operations
    00001030  AE  1    MoveOriginatorApplicationEntityTitle  Move Originator Application Entity Title
    00001031  US  1    MoveOriginatorMessageID               Move Originator Message ID
""")
"""PS3.7 Table E.1-1, in ascending order of tags; the retired elements of E.2 are left out."""

DATA_SETS: tuple[DataSetParameter, ...] = (
    DataSetParameter("DataSet", "Data Set"),
    DataSetParameter("Identifier", "Identifier"),
    DataSetParameter("EventInformation", "Event Information"),
    DataSetParameter("EventReply", "Event Reply"),
    DataSetParameter("AttributeList", "Attribute List"),
    DataSetParameter("ModificationList", "Modification List"),
    DataSetParameter("ActionInformation", "Action Information"),
    DataSetParameter("ActionReply", "Action Reply"),
)

PARAMETERS: Mapping[str, Parameter] = MappingProxyType({row.keyword: row for row in COMMAND_ELEMENTS})
"""The elements of the command set by keyword."""

DATA_SET_PARAMETERS: Mapping[str, DataSetParameter] = MappingProxyType(
    {row.keyword: row for row in DATA_SETS}
)
"""The data-set parameters by keyword."""

NO_DATA_SET = 0x0101
"""Command Data Set Type (0000,0800) of a message without a data set; any other value means that one follows."""

DATA_SET_PRESENT = 0x0001
"""The Command Data Set Type that this package sends where a data set follows."""

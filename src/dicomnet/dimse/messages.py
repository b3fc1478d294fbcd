"""The DIMSE services and their 23 messages as the tables of PS3.7 chapters 9 and 10, and `Message`, one message.

This module does not know how a command set is encoded; `codec` does.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..values import field, frozen, mutable, replace
from .parameters import DATA_SET_PARAMETERS, PARAMETERS, DataSetParameter, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

RESPONSE = 0x8000
"""The bit of Command Field (0000,0100) that distinguishes a response from its request."""

USAGES = MappingProxyType(
    {
        "M": "mandatory",
        "U": "the user's option",
        "U(=)": "the user's option, equal to the request's",
        "C": "conditional",
        "C(=)": "conditional, equal to the request's",
        "-": "not used",
    }
)
"""The usage codes in the columns of a service table, and their meanings (PS3.7 chapter 5)."""


class Presence(Enum):
    """Whether a message must, may or cannot hold a field."""

    REQUIRED = "R"
    OPTIONAL = "O"
    ABSENT = "-"


@frozen
class Row:
    """A parameter of a service: its usage (PS3.7 9.1 and 10.1), and its presence in the messages (9.3 and 10.3).

    Parameters
    ----------
    parameter
        The parameter.
    request, response
        Usage in request and indication, and in response and confirmation: a key of `USAGES`.
    in_request, in_response
        Presence in the RQ and in the RSP message.
    """

    parameter: Parameter | DataSetParameter
    request: str
    response: str
    in_request: Presence
    in_response: Presence


@frozen
class MessageField:
    """An element of a message's command set.

    Parameters
    ----------
    parameter
        The element.
    is_required
        Whether a message without it is malformed.
    """

    parameter: Parameter
    is_required: bool


_ECHOED = (
    ("AffectedSOPClassUID", "AffectedSOPClassUID"),
    ("AffectedSOPInstanceUID", "AffectedSOPInstanceUID"),
    ("RequestedSOPClassUID", "AffectedSOPClassUID"),
    ("RequestedSOPInstanceUID", "AffectedSOPInstanceUID"),
)
_ECHOED_WITH_REPLY = ("EventTypeID", "ActionTypeID")


@frozen
class MessageType:
    """One of the 23 DIMSE messages. There is a single object for each, so ``is`` compares them.

    Besides there are those of `unrecognised_type`, which are made as they come.

    Parameters
    ----------
    name
        For instance ``C-STORE-RQ``.
    command_field
        The value of Command Field (0000,0100).
    service
        For instance ``C-STORE``, a key of `SERVICES`.
    is_response
        Whether it is a response.
    parameters
        The elements of its command set in ascending order of tags, without the three that every command set
        has: Command Group Length, Command Field and Command Data Set Type.
    data_set
        Keyword of the data set that may follow, for instance ``Identifier``; None if none may.
    data_set_required
        Whether the data set must follow.
    """

    name: str
    command_field: int
    service: str
    is_response: bool
    parameters: tuple[MessageField, ...]
    data_set: str | None
    data_set_required: bool
    required: frozenset[str] = field(init=False)
    """Keywords of the elements that the command set must hold."""
    keywords: frozenset[str] = field(init=False)
    """Keywords of all its elements."""
    has_response: bool = field(init=False)
    """Whether it is a request that has a response; all do but C-CANCEL-RQ."""
    identified_by: str = field(init=False)
    """Keyword of the element that holds the Message ID of the request that this message is, or refers to."""
    echoed: tuple[tuple[str, str], ...] = field(init=False)
    """The elements that the response repeats: pairs of the keyword in this request and that in the response."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        keywords = frozenset(row.parameter.keyword for row in self.parameters)
        own_id = "MessageID"
        derived = {
            "required": frozenset(row.parameter.keyword for row in self.parameters if row.is_required),
            "keywords": keywords,
            "has_response": not self.is_response and own_id in keywords,
            "identified_by": own_id if own_id in keywords else "MessageIDBeingRespondedTo",
            "echoed": tuple((theirs, ours) for theirs, ours in _ECHOED if theirs in keywords),
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    @property
    def response(self) -> MessageType:
        """The message that answers this request.

        Raises
        ------
        ValueError
            For C-CANCEL-RQ and for a response, which have none.
        """
        answer = MESSAGE_TYPES.get(self.command_field | RESPONSE)
        if self.service is UNRECOGNISED:
            answer = unrecognised_type(self.command_field | RESPONSE)
        if answer is None or self.is_response:
            raise ValueError(f"{self.name} has no response")
        return answer

    def missing(self, command: Mapping[str, Any]) -> list[str]:
        """Keywords of the required elements that `command` does not hold, in ascending order of tags."""
        required = (row.parameter.keyword for row in self.parameters if row.is_required)
        return [keyword for keyword in required if command.get(keyword) is None]

    def __repr__(self) -> str:
        return f"<MessageType {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _message_type_of, (self.command_field,)


def _message_type_of(command_field: int) -> MessageType:
    return MESSAGE_TYPES.get(command_field) or unrecognised_type(command_field)


@frozen
class Service:
    """A DIMSE service: the parameters of its primitives and the messages that convey them.

    Parameters
    ----------
    name
        For instance ``C-STORE``.
    command_field
        Command Field (0000,0100) of the request.
    service_section, protocol_section
        Where PS3.7 defines the service and its messages, for instance ``9.1.1`` and ``9.3.1``.
    rows
        Its parameters, in the order of the standard's table.
    """

    name: str
    command_field: int
    service_section: str
    protocol_section: str
    rows: tuple[Row, ...]

    def parameter_table(self) -> str:
        """The service table as text: parameter, usage in Req/Ind and in Rsp/Conf."""
        width = max(len(row.parameter.name) for row in self.rows)
        lines = [("Parameter", "Req/Ind", "Rsp/Conf"), ("=" * width, "=" * 7, "=" * 8)]
        lines += [(row.parameter.name, row.request, row.response) for row in self.rows]
        return "\n".join(f"{name:{width}}  {asked:7}  {answered}" for name, asked, answered in lines)


def _row(line: str) -> Row:
    keyword, request, response, in_request, in_response = line.split()
    if not {request, response} <= USAGES.keys():
        raise ValueError(f"unknown usage in the table row of {keyword}")
    parameter = PARAMETERS.get(keyword) or DATA_SET_PARAMETERS[keyword]
    return Row(parameter, request, response, Presence(in_request), Presence(in_response))


def _service(
    name: str, command_field: int, service_section: str, protocol_section: str, table: str
) -> Service:
    rows = tuple(_row(line) for line in table.split("\n") if line.strip())
    return Service(name, command_field, service_section, protocol_section, rows)


# The columns: parameter; usage in Req/Ind and in Rsp/Conf, a key of USAGES; presence in the RQ and in the RSP
# message, a value of Presence. OffendingElement and what follows it are the status fields of Annex C.
C_STORE = _service("C-STORE", 0x0001, "9.1.1", "9.3.1", """
    MessageID                             M  U     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    AffectedSOPInstanceUID                M  U(=)  R  O
    Priority                              M  -     R  -
    MoveOriginatorApplicationEntityTitle  U  -     O  -
    MoveOriginatorMessageID               U  -     O  -
    DataSet                               M  -     R  -
    Status                                -  M     -  R
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
""")  # fmt: skip

C_FIND = _service("C-FIND", 0x0020, "9.1.2", "9.3.2", """
    MessageID                             M  U     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    Priority                              M  -     R  -
    Identifier                            M  C     R  O
    Status                                -  M     -  R
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
""")  # fmt: skip

C_GET = _service("C-GET", 0x0010, "9.1.3", "9.3.3", """
    MessageID                             M  U     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    Priority                              M  -     R  -
    Identifier                            M  U     R  O
    Status                                -  M     -  R
    NumberOfRemainingSuboperations        -  C     -  O
    NumberOfCompletedSuboperations        -  C     -  O
    NumberOfFailedSuboperations           -  C     -  O
    NumberOfWarningSuboperations          -  C     -  O
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
""")  # fmt: skip

C_MOVE = _service("C-MOVE", 0x0021, "9.1.4", "9.3.4", """
    MessageID                             M  U     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    Priority                              M  -     R  -
    MoveDestination                       M  -     R  -
    Identifier                            M  U     R  O
    Status                                -  M     -  R
    NumberOfRemainingSuboperations        -  C     -  O
    NumberOfCompletedSuboperations        -  C     -  O
    NumberOfFailedSuboperations           -  C     -  O
    NumberOfWarningSuboperations          -  C     -  O
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
""")  # fmt: skip

C_ECHO = _service("C-ECHO", 0x0030, "9.1.5", "9.3.5", """
    MessageID                             M  U     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    Status                                -  M     -  R
    ErrorComment                          -  C     -  O
""")  # fmt: skip

C_CANCEL = _service("C-CANCEL", 0x0FFF, "9.1.2", "9.3.2.3", """
    MessageIDBeingRespondedTo             M  -     R  -
""")  # fmt: skip

N_EVENT_REPORT = _service("N-EVENT-REPORT", 0x0100, "10.1.1", "10.3.1", """
    MessageID                             M  -     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    AffectedSOPInstanceUID                M  U(=)  R  O
    EventTypeID                           M  C(=)  R  O
    EventInformation                      U  -     O  -
    EventReply                            -  C     -  O
    Status                                -  M     -  R
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
    ErrorID                               -  C     -  O
""")  # fmt: skip

N_GET = _service("N-GET", 0x0110, "10.1.2", "10.3.2", """
    MessageID                             M  -     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    RequestedSOPClassUID                  M  -     R  -
    RequestedSOPInstanceUID               M  -     R  -
    AttributeIdentifierList               U  C     O  O
    AffectedSOPClassUID                   -  U     -  O
    AffectedSOPInstanceUID                -  U     -  O
    AttributeList                         -  C     -  O
    Status                                -  M     -  R
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
    ErrorID                               -  C     -  O
""")  # fmt: skip

N_SET = _service("N-SET", 0x0120, "10.1.3", "10.3.3", """
    MessageID                             M  -     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    RequestedSOPClassUID                  M  -     R  -
    RequestedSOPInstanceUID               M  -     R  -
    ModificationList                      M  -     R  -
    AttributeList                         -  U     -  O
    AffectedSOPClassUID                   -  U     -  O
    AffectedSOPInstanceUID                -  U     -  O
    Status                                -  M     -  R
    AttributeIdentifierList               -  C     -  O
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
    ErrorID                               -  C     -  O
""")  # fmt: skip

N_ACTION = _service("N-ACTION", 0x0130, "10.1.4", "10.3.4", """
    MessageID                             M  -     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    RequestedSOPClassUID                  M  -     R  -
    RequestedSOPInstanceUID               M  -     R  -
    ActionTypeID                          M  C(=)  R  O
    ActionInformation                     U  -     O  -
    AffectedSOPClassUID                   -  U     -  O
    AffectedSOPInstanceUID                -  U     -  O
    ActionReply                           -  C     -  O
    Status                                -  M     -  R
    AttributeIdentifierList               -  C     -  O
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
    ErrorID                               -  C     -  O
""")  # fmt: skip

N_CREATE = _service("N-CREATE", 0x0140, "10.1.5", "10.3.5", """
    MessageID                             M  -     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    AffectedSOPClassUID                   M  U(=)  R  O
    AffectedSOPInstanceUID                U  C     O  O
    AttributeList                         U  U     O  O
    Status                                -  M     -  R
    AttributeIdentifierList               -  C     -  O
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
    ErrorID                               -  C     -  O
""")  # fmt: skip

N_DELETE = _service("N-DELETE", 0x0150, "10.1.6", "10.3.6", """
    MessageID                             M  -     R  -
    MessageIDBeingRespondedTo             -  M     -  R
    RequestedSOPClassUID                  M  -     R  -
    RequestedSOPInstanceUID               M  -     R  -
    AffectedSOPClassUID                   -  U     -  O
    AffectedSOPInstanceUID                -  U     -  O
    Status                                -  M     -  R
    OffendingElement                      -  C     -  O
    ErrorComment                          -  C     -  O
    ErrorID                               -  C     -  O
""")  # fmt: skip

SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        service.name: service
        for service in (
            C_STORE, C_FIND, C_GET, C_MOVE, C_ECHO, C_CANCEL,
            N_EVENT_REPORT, N_GET, N_SET, N_ACTION, N_CREATE, N_DELETE,
        )
    }
)  # fmt: skip
"""The services by name."""


def _message_type(service: Service, is_response: bool) -> MessageType:
    rows = [(row.parameter, row.in_response if is_response else row.in_request) for row in service.rows]
    present = [(p, presence is Presence.REQUIRED) for p, presence in rows if presence is not Presence.ABSENT]
    fields = [MessageField(p, is_required) for p, is_required in present if isinstance(p, Parameter)]
    data_sets = [(p.keyword, needed) for p, needed in present if isinstance(p, DataSetParameter)]
    data_set, data_set_required = data_sets[0] if data_sets else (None, False)
    return MessageType(
        name=service.name + ("-RSP" if is_response else "-RQ"),
        command_field=service.command_field | (RESPONSE if is_response else 0),
        service=service.name,
        is_response=is_response,
        parameters=tuple(sorted(fields, key=lambda row: row.parameter.tag)),
        data_set=data_set,
        data_set_required=data_set_required,
    )


UNRECOGNISED = "unknown operation"
"""The service of messages whose Command Field names none of the 23."""


def unrecognised_type(command_field: int) -> MessageType:
    """The type of a message whose Command Field names none of the 23: what is needed to answer it (PS3.7 Annex C.5).

    Parameters
    ----------
    command_field
        Its value, which has the bit of responses or not.
    """
    service = _service(UNRECOGNISED, command_field & ~RESPONSE, "", "", """
        MessageID                  M  -  R  -
        MessageIDBeingRespondedTo  -  M  -  R
        Status                     -  M  -  R
        OffendingElement           -  C  -  O
        ErrorComment               -  C  -  O
    """)  # fmt: skip
    kind = _message_type(service, bool(command_field & RESPONSE))
    return replace(
        kind, name=f"unknown {'response' if kind.is_response else 'request'} 0x{command_field:04X}"
    )


C_STORE_RQ = _message_type(C_STORE, False)
C_STORE_RSP = _message_type(C_STORE, True)
C_FIND_RQ = _message_type(C_FIND, False)
C_FIND_RSP = _message_type(C_FIND, True)
C_GET_RQ = _message_type(C_GET, False)
C_GET_RSP = _message_type(C_GET, True)
C_MOVE_RQ = _message_type(C_MOVE, False)
C_MOVE_RSP = _message_type(C_MOVE, True)
C_ECHO_RQ = _message_type(C_ECHO, False)
C_ECHO_RSP = _message_type(C_ECHO, True)
C_CANCEL_RQ = _message_type(C_CANCEL, False)
N_EVENT_REPORT_RQ = _message_type(N_EVENT_REPORT, False)
N_EVENT_REPORT_RSP = _message_type(N_EVENT_REPORT, True)
N_GET_RQ = _message_type(N_GET, False)
N_GET_RSP = _message_type(N_GET, True)
N_SET_RQ = _message_type(N_SET, False)
N_SET_RSP = _message_type(N_SET, True)
N_ACTION_RQ = _message_type(N_ACTION, False)
N_ACTION_RSP = _message_type(N_ACTION, True)
N_CREATE_RQ = _message_type(N_CREATE, False)
N_CREATE_RSP = _message_type(N_CREATE, True)
N_DELETE_RQ = _message_type(N_DELETE, False)
N_DELETE_RSP = _message_type(N_DELETE, True)

MESSAGE_TYPES: Mapping[int, MessageType] = MappingProxyType(
    {
        message_type.command_field: message_type
        for message_type in (
            C_STORE_RQ, C_STORE_RSP, C_FIND_RQ, C_FIND_RSP, C_GET_RQ, C_GET_RSP, C_MOVE_RQ, C_MOVE_RSP,
            C_ECHO_RQ, C_ECHO_RSP, C_CANCEL_RQ, N_EVENT_REPORT_RQ, N_EVENT_REPORT_RSP, N_GET_RQ, N_GET_RSP,
            N_SET_RQ, N_SET_RSP, N_ACTION_RQ, N_ACTION_RSP, N_CREATE_RQ, N_CREATE_RSP, N_DELETE_RQ, N_DELETE_RSP,
        )
    }
)  # fmt: skip
"""The types of messages by Command Field (PS3.7 Annex E.1)."""


@mutable
class Message:
    """A DIMSE message: a command set, and a data set if the message has one (PS3.7 section 6.3).

    Parameters
    ----------
    type
        Which of the 23 messages it is.
    command
        Values of the command set by keyword, without the elements that follow from `type` and `data`. US values are
        int; UI, AE and LO values are str without padding; AT values are a list of int, even for a single one.
    context_id
        ID of the presentation context: odd, 1 to 255.
    data
        The data set: bytes-like, a `Source` to send it from, or the `Sink` that received it. None if there is none.
    """

    type: MessageType
    command: dict[str, Any]
    context_id: int
    data: object = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (self.type, self.command, self.context_id, self.data) == (
            other.type,
            other.command,
            other.context_id,
            other.data,
        )

    @property
    def message_id(self) -> int:
        """Message ID of a request; Message ID Being Responded To of a response or a C-CANCEL-RQ.

        Raises
        ------
        KeyError
            If the command set does not hold it.
        """
        value: int = self.command[self.type.identified_by]
        return value

    @property
    def status(self) -> int:
        """Status (0000,0900) of a response.

        Raises
        ------
        KeyError
            For a request, which has none.
        """
        value: int = self.command["Status"]
        return value


def respond(request: Message, status: int, data: object = None, **extra: Any) -> Message:
    """Make the response to a request (PS3.7 sections 9.3 and 10.3).

    The response names the request's SOP class and instance as Affected, even if the request names them as Requested.
    It repeats the Event Type ID or Action Type ID if it has a data set, as 10.1.1.1.5 and 10.1.4.1.5 require.

    Parameters
    ----------
    request
        The request.
    status
        The value of Status (0000,0900).
    data
        The data set of the response, see `Message`.
    extra
        Further elements by keyword; they override those repeated from the request. None values are left out.

    Raises
    ------
    ValueError
        If a message of this type has no response.
    """
    asked = request.command
    command = {"MessageIDBeingRespondedTo": asked["MessageID"], "Status": status}
    for theirs, ours in request.type.echoed:
        if theirs in asked:
            command[ours] = asked[theirs]
    if data is not None:
        for keyword in _ECHOED_WITH_REPLY:
            if keyword in asked:
                command[keyword] = asked[keyword]
    if extra:
        command.update((keyword, value) for keyword, value in extra.items() if value is not None)
    return Message(request.type.response, command, request.context_id, data)

"""What `Peer` asks for, in both drivers: addresses, association requests, files to store, and queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .._version import IMPLEMENTATION_VERSION_NAME
from ..dimse.datasets import MemorySink, Sink, Source
from ..dimse.messages import C_ECHO_RQ, C_STORE_RQ, Message
from ..drivers.files import StoredObject
from ..drivers.hooks import Phase, WithoutRetrieval
from ..drivers.transport import Address
from ..encoding.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    PREFERRED_NATIVE,
    Transcoding,
    transfer_syntax,
)
from ..errors import NoAcceptedContext, ServiceRefusal
from ..services.registry import (
    SOME_SUB_OPERATIONS_FAILED,
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
    is_pending,
)
from ..services.sop_classes import COMMON_STORAGE
from ..services.steps import Work
from ..upper_layer.negotiation import (
    IMPLEMENTATION_CLASS_UID,
    Agreement,
    NegotiatedContext,
    identification_items,
)
from ..values import field, frozen, mutable
from ..wire.fields import ae_title_bytes
from ..wire.items import AsynchronousOperationsWindow, ProposedContext, RoleSelection, UserItem
from ..wire.pdu import AssociateAC, AssociateRJ, AssociateRQ

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

VERIFICATION = "1.2.840.10008.1.1"
NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
FIND_MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.1", "study": "1.2.840.10008.5.1.4.1.2.2.1"}
MOVE_MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.2", "study": "1.2.840.10008.5.1.4.1.2.2.2"}
GET_MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.3", "study": "1.2.840.10008.5.1.4.1.2.2.3"}

MAXIMUM_CONTEXTS = 128
# The PDU-length that we announce: large enough for a CT slice in one piece, and no memory is held for it.
MAXIMUM_LENGTH = 3 << 18
RESPONSE_LIMIT = 64 << 20
# What is asked for at each level where the caller does not say, from PS3.4 section C.6.1.1.
RETURN_KEYS = {
    "PATIENT": (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "NumberOfPatientRelatedStudies",
    ),
    "STUDY": (
        "StudyInstanceUID",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "StudyDescription",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "SERIES": (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"),
}
LEVELS = {name.lower(): name for name in RETURN_KEYS} | {"instance": "IMAGE"}

Pair = tuple[str, str]
# An abstract syntax with its transfer syntaxes.
Context = tuple[str, tuple[str, ...]]
Proposal = tuple[Context, ...]


@frozen
class PeerAddress:
    """A peer's AE title and transport address.

    Parameters
    ----------
    ae_title
        The called AE title.
    address
        Host and port.
    """

    ae_title: str
    address: Address

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """From ``[AET@]host:port``, an IPv6 address in brackets.

        Raises
        ------
        ValueError
            If it is not of that form.
        """
        title, at, place = text.rpartition("@")
        host, colon, port = place.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address must be in brackets, as in [::1]:11112")
        is_number = port.isascii() and port.isdecimal()
        if not colon or not host or not is_number or not 1 <= int(port) <= 65535:
            raise ValueError(
                f"{text!r} is not a peer; write [AET@]host:port, for instance PACS@127.0.0.1:11112"
            )
        title = title if at else "ANY-SCP"
        ae_title_bytes(title, "the called AE title")
        return cls(title, Address(host, int(port)))

    def __str__(self) -> str:
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"{self.ae_title}@{host}:{self.address.port}"


@frozen
class StoreResult:
    """What became of one file.

    Parameters
    ----------
    path
        The file.
    status
        Status of the C-STORE response, None where there is none.
    sop_instance_uid
        UID, empty where the file is not DICOM.
    comment
        What went wrong, in words; empty where nothing did.
    is_skipped
        The file is no DICOM object, and was not sent.
    length
        Bytes of the data set.
    """

    path: str
    status: int | None
    sop_instance_uid: str = ""
    comment: str = ""
    is_skipped: bool = False
    length: int = 0

    @property
    def is_stored(self) -> bool:
        """Whether the peer has it now: success, or a warning (PS3.4 Table B.2-1)."""
        return self.status is not None and (self.status == SUCCESS or self.status & 0xF000 == 0xB000)


@frozen
class RetrieveProgress:
    """How far a C-GET or C-MOVE is.

    Parameters
    ----------
    status
        Of the response.
    remaining, completed, failed, warnings
        How many sub-operations are in which state.
    failed_uids
        SOP Instance UIDs that the last response says have failed.
    comment
        What went wrong, in words; empty where nothing did.
    """

    status: int
    remaining: int = 0
    completed: int = 0
    failed: int = 0
    warnings: int = 0
    failed_uids: tuple[str, ...] = ()
    comment: str = ""

    @property
    def is_final(self) -> bool:
        """Whether this is the last response."""
        return not is_pending(self.status)

    @property
    def is_complete(self) -> bool:
        """Whether all objects have arrived: the last response said success or a warning, and none has failed."""
        return self.status in (SUCCESS, SOME_SUB_OPERATIONS_FAILED) and not (self.failed or self.failed_uids)

    def check(self) -> None:
        """Raise ServiceRefusal if the operation ended with neither success nor a warning."""
        if self.status not in (SUCCESS, SOME_SUB_OPERATIONS_FAILED):
            raise ServiceRefusal(self.status, self.comment)

    def next(self, response: Message, failed_uids: Iterable[str]) -> RetrieveProgress:
        """What a response tells; what it leaves out has not changed.

        Parameters
        ----------
        failed_uids
            Its Failed SOP Instance UID List.
        """
        command, status = response.command, response.status
        return RetrieveProgress(
            status,
            # A final response does not have it (PS3.4 section C.4.2.1.6), but a cancelled operation leaves some.
            command.get("NumberOfRemainingSuboperations", 0),
            command.get("NumberOfCompletedSuboperations", self.completed),
            command.get("NumberOfFailedSuboperations", self.failed),
            command.get("NumberOfWarningSuboperations", self.warnings),
            tuple(failed_uids),
            "" if status == SUCCESS or is_pending(status) else _comment(response, "Query/Retrieve"),
        )


class RequestorHooks(WithoutRetrieval):
    """The hooks of an association that only asks: nothing is performed for the peer."""

    stores = None

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        """Never asked of a requestor."""
        raise TypeError("a requestor does not answer association requests")

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        """Keep the data sets of responses in memory, up to a limit."""
        return MemorySink(RESPONSE_LIMIT)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        """Refuse what the peer asks for."""
        raise ServiceRefusal(SOP_CLASS_NOT_SUPPORTED)

    def next_answer(self, answers: Any) -> None:
        """There are no answers."""

    def phase_changed(self, phase: Phase) -> None:
        """Nobody is told."""

    def closed(self) -> None:
        """Nobody is told."""


def association_request(
    peer: PeerAddress,
    calling: str,
    pairs: Iterable[Context],
    window: int,
    roles: Mapping[str, tuple[bool, bool]] | None = None,
) -> AssociateRQ:
    """An A-ASSOCIATE-RQ that proposes these abstract syntaxes, each with its transfer syntaxes.

    Parameters
    ----------
    window
        How many operations are wanted outstanding; 1 proposes nothing.
    roles
        By abstract syntax, whether the role of SCU and that of SCP are wanted; without it, that of SCU is had.
    """
    items: tuple[UserItem, ...] = identification_items(
        MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
    )
    if window != 1:
        items += (AsynchronousOperationsWindow(window, 1),)
    # Sub-items go in increasing order of their types.
    items += tuple(RoleSelection(uid, scu, scp) for uid, (scu, scp) in (roles or {}).items())
    contexts = tuple(
        ProposedContext(2 * index + 1, abstract, transfer) for index, (abstract, transfer) in enumerate(pairs)
    )
    return AssociateRQ(peer.ae_title, calling, contexts, items)


@mutable
class StorePlan:
    """Objects to be sent, in groups that each need no more contexts than an association has room for.

    Parameters
    ----------
    transcoding
        Whether compressed objects may be decompressed.
    """

    transcoding: Transcoding = Transcoding.NEVER
    objects: list[StoredObject] = field(default_factory=list)
    pairs: dict[Pair, None] = field(default_factory=dict)
    proposal: Proposal = ()

    def takes(self, stored: StoredObject) -> bool:
        """Add an object, unless its context finds no room."""
        pair = pair_of(stored)
        if pair not in self.pairs:
            proposal = propose((*self.pairs, pair), self.transcoding)
            if len(proposal) > MAXIMUM_CONTEXTS:
                return False
            self.pairs[pair] = None
            self.proposal = proposal
        self.objects.append(stored)
        return True


def checked_jobs(jobs: int) -> int:
    """A number of associations side by side.

    Raises
    ------
    ValueError
        If it is less than 1.
    """
    if jobs < 1:
        raise ValueError("there is at least 1 association to store with")
    return jobs


def pair_of(stored: StoredObject) -> Pair:
    """The SOP class and transfer syntax that an object needs."""
    return stored.header.sop_class_uid, stored.header.transfer_syntax_uid


def propose(pairs: Iterable[Pair], transcoding: Transcoding) -> Proposal:
    """The contexts for objects: each transfer syntax of theirs in one of its own, so that a file may go as it is.

    What may be converted has the other native transfer syntaxes besides, in one context, or in two where it is for us
    to choose between the two that nearly every peer takes.
    """
    own: dict[str, list[str]] = {}
    for sop_class, syntax in pairs:
        own.setdefault(sop_class, []).append(syntax)
    contexts: list[tuple[str, tuple[str, ...]]] = []
    for sop_class, syntaxes in own.items():
        contexts += ((sop_class, (syntax,)) for syntax in syntaxes)
        if any(_is_convertible(syntax, transcoding) for syntax in syntaxes):
            further = tuple(syntax for syntax in PREFERRED_NATIVE if syntax not in syntaxes)
            if further[:2] == PREFERRED_NATIVE[:2]:
                contexts.append((sop_class, further[:1]))
                further = further[1:]
            if further:
                contexts.append((sop_class, further))
    return tuple(contexts)


def context_for(
    agreement: Agreement, abstract_syntax: str, wanted_transfer_syntax: str | None = None
) -> NegotiatedContext:
    """The accepted context on which we may use an abstract syntax as SCU.

    Raises
    ------
    NoAcceptedContext
        If there is none.
    """
    contexts = agreement.contexts_for(abstract_syntax)
    for context in contexts:
        if context.as_scu and wanted_transfer_syntax in (None, context.transfer_syntax):
            return context
    accepted = tuple(context.transfer_syntax for context in contexts if context.as_scu)
    raise NoAcceptedContext(abstract_syntax, wanted_transfer_syntax, accepted)


def substitute_context(
    agreement: Agreement, pair: Pair, instance: str, transcoding: Transcoding
) -> NegotiatedContext:
    """The context for an object whose own transfer syntax was not accepted: the first of `PREFERRED_NATIVE` that was.

    Parameters
    ----------
    pair
        SOP class and transfer syntax of the object.
    instance
        Its SOP Instance UID.
    transcoding
        Whether it may be decompressed.

    Raises
    ------
    NoAcceptedContext
        If there is none that it may be converted to.
    """
    sop_class, own = pair
    accepted = {each.transfer_syntax: each for each in agreement.contexts_for(sop_class) if each.as_scu}
    native = [accepted[syntax] for syntax in PREFERRED_NATIVE if syntax in accepted]
    if native and _is_convertible(own, transcoding):
        return native[0]
    names = {
        uid: f"{transfer_syntax(uid).name} ({uid})"
        for uid in (own, *accepted)
        if uid != transfer_syntax(uid).name
    }
    may_help = transcoding is Transcoding.NEVER and transfer_syntax(own).is_encapsulated
    advice = 'transcode "if-needed" would have it decompressed' if may_help else ""
    raise NoAcceptedContext(sop_class, own, tuple(accepted), instance, names, advice)


def _is_convertible(own: str, transcoding: Transcoding) -> bool:
    return transcoding is Transcoding.IF_NEEDED or not transfer_syntax(own).is_encapsulated


def file_in(
    context: NegotiatedContext, stored: StoredObject, content: memoryview | None = None
) -> Source | Work:
    """The data set of a file in the transfer syntax of a context: as it is, or the work to make it.

    Parameters
    ----------
    content
        The data set as it is, where it was read already.
    """
    if context.transfer_syntax == stored.header.transfer_syntax_uid:
        return stored.data if content is None else content

    def convert() -> Source:
        from ..datasets.transcode import transcode_file

        return transcode_file(stored, context.transfer_syntax)

    return Work(convert)


def context_for_report(agreement: Agreement, abstract_syntax: str) -> NegotiatedContext:
    """The accepted context on which we may report events of an abstract syntax: as SCP, where there is one.

    Raises
    ------
    NoAcceptedContext
        If there is none.
    """
    contexts = agreement.contexts_for(abstract_syntax)
    if not contexts:
        raise NoAcceptedContext(abstract_syntax)
    # Many peers take reports on an association that was opened without asking for the role of SCP.
    return next((context for context in contexts if context.as_scp), contexts[0])


def store_request(
    stored: StoredObject, context: NegotiatedContext, message_id: int, content: memoryview | None = None
) -> Message:
    """The C-STORE-RQ for an object; its data set is `Work` where it has to be converted first.

    Parameters
    ----------
    content
        As of `file_in`.
    """
    header = stored.header
    return Message(
        C_STORE_RQ,
        {
            "AffectedSOPClassUID": header.sop_class_uid,
            "MessageID": message_id,
            "Priority": 0,
            "AffectedSOPInstanceUID": header.sop_instance_uid,
        },
        context.context_id,
        file_in(context, stored, content),
    )


def store_result(stored: StoredObject, response: Message) -> StoreResult:
    """The result that a C-STORE-RSP tells."""
    status = response.status
    comment = str(response.command.get("ErrorComment", ""))
    if status != SUCCESS and not comment:
        comment = describe_status(status, "Storage")
    return StoreResult(
        str(stored.path), status, stored.header.sop_instance_uid, comment, length=stored.length
    )


def failed_result(stored: StoredObject, error: Exception) -> StoreResult:
    """The result for an object that got no response."""
    return StoreResult(
        str(stored.path), None, stored.header.sop_instance_uid, str(error), length=stored.length
    )


def echo_request(agreement: Agreement, message_id: int) -> Message:
    """A C-ECHO-RQ (PS3.7 section 9.3.5.1).

    Raises
    ------
    NoAcceptedContext
        If verification was not accepted.
    """
    context = context_for(agreement, VERIFICATION)
    command = {"AffectedSOPClassUID": VERIFICATION, "MessageID": message_id}
    return Message(C_ECHO_RQ, command, context.context_id)


def check_status(response: Message, service: str) -> None:
    """Raise ServiceRefusal unless the status is success."""
    if response.status != SUCCESS:
        raise ServiceRefusal(response.status, _comment(response, service))


def _comment(response: Message, service: str) -> str:
    comment = str(response.command.get("ErrorComment", ""))
    return comment or describe_status(response.status, service, response.type.service)


def describe_status(status: int, service: str, operation: str = "C-FIND") -> str:
    """A status in words (PS3.7 Annex C and the service's table in PS3.4)."""
    from ..services.service_names import ServiceName
    from ..services.statuses import statuses_of

    found = statuses_of(ServiceName(service), operation).get(status)
    return f"{found[0].lower()}: {found[1]}" if found else "a status that the service does not define"


def find_model(level: str, model: str | None, models: Mapping[str, str] = FIND_MODELS) -> str:
    """SOP class UID of the information model to query, or to retrieve from.

    Parameters
    ----------
    level
        ``patient``, ``study``, ``series`` or ``image``.
    model
        ``study`` or ``patient``; None is the study root, but at the patient level, which only the patient root has.
    models
        Their UIDs for the operation.

    Raises
    ------
    ValueError
        If the model does not exist.
    """
    if model is None:
        model = "patient" if level.lower() == "patient" else "study"
    if model not in models:
        raise ValueError(f"{model!r} is not an information model; use {' or '.join(models)}")
    return models[model]


def get_contexts(model: str, contexts: Mapping[str, Iterable[str]] | None) -> list[Context]:
    """What is proposed for a C-GET: its model, and the storage SOP classes whose objects may come.

    Parameters
    ----------
    model
        SOP class UID of the information model.
    contexts
        SOP class UIDs with transfer syntax UIDs, each of which gets a context of its own; by default the common
        storage SOP classes in the native transfer syntaxes.

    Raises
    ------
    ValueError
        If there are more than an association has room for.
    """
    if contexts is None:
        storage: list[Context] = [(uid, NATIVE) for uid in COMMON_STORAGE]
    else:
        storage = [(str(uid), (str(each),)) for uid, syntaxes in contexts.items() for each in syntaxes]
    if len(storage) >= MAXIMUM_CONTEXTS:
        raise ValueError(
            f"an association has room for {MAXIMUM_CONTEXTS - 1} contexts besides the C-GET's own"
        )
    return [(model, NATIVE), *storage]


def build_query(level: str, keys: dict[str, Any]) -> Dataset:
    """The Identifier of a C-FIND.

    Parameters
    ----------
    level
        ``patient``, ``study``, ``series`` or ``image``.
    keys
        Keyword to value; None or an empty value asks for the attribute without matching it, a list matches any of
        its UIDs. The usual attributes of the level are asked for besides.

    Raises
    ------
    ValueError
        For a level or keyword that does not exist, or a value that its attribute cannot have.
    """
    return build_identifier(level, dict.fromkeys(RETURN_KEYS.get(LEVELS.get(level.lower(), ""), ())) | keys)


def build_identifier(level: str, keys: Mapping[str, Any]) -> Dataset:
    """The Identifier of a C-FIND, C-GET or C-MOVE with just these keys.

    Parameters
    ----------
    level
        ``patient``, ``study``, ``series`` or ``image``.
    keys
        As of `build_query`.

    Raises
    ------
    ValueError
        As of `build_query`.
    """
    if level.lower() not in LEVELS:
        raise ValueError(f"{level!r} is not a level; use patient, study, series or image")
    if "QueryRetrieveLevel" in keys:
        raise ValueError("'QueryRetrieveLevel' is no key of a query")
    query = build_keys(keys)
    query.QueryRetrieveLevel = LEVELS[level.lower()]
    return query


def build_keys(keys: Mapping[str, Any]) -> Dataset:
    """The keys of a query as a data set, without a level.

    Parameters
    ----------
    keys
        As of `build_query`; the value of a sequence may also be the keys of its one item.

    Raises
    ------
    ValueError
        For a keyword that does not exist, or a value that its attribute cannot have.
    """
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    query = Dataset()
    for keyword, given in keys.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            raise ValueError(f"{keyword!r} is not a keyword of the DICOM dictionary")
        if tag >> 16 < 8:
            raise ValueError(f"{keyword!r} is no key of a query")
        vr = dictionary_VR(tag)
        if vr == "SQ":
            items = [] if given is None else given
            if isinstance(given, Mapping):
                items = [build_keys(given)]
                # The character set of a data set is that of its items, too.
                character_set = items[0].pop("SpecificCharacterSet", None)
                if character_set is not None:
                    query["SpecificCharacterSet"] = character_set
            query[tag] = DataElement(tag, vr, items)
            continue
        is_list = isinstance(given, Sequence) and not isinstance(given, str | bytes)
        values = list(given) if is_list else [given]
        # Keys may be wildcards or ranges, which are no valid values of their VR.
        value = values if is_list else given
        query[tag] = DataElement(tag, vr, "" if value is None else value, validation_mode=0)
        if any(isinstance(each, str) and not each.isascii() for each in values):
            query.SpecificCharacterSet = "ISO_IR 192"
    return query

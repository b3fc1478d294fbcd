"""Retrieval: C-GET and C-MOVE in the Query/Retrieve Information Models (PS3.4 sections C.4.2 and C.4.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from ...dimse.datasets import OUT_OF_RESOURCES, MemorySink
from ...dimse.messages import Message
from ...encoding.transfer_syntaxes import Transcoding
from ...errors import ServiceRefusal
from ...exchange.addresses import PeerAddress
from ...exchange.contexts import GET_MODELS, MOVE_MODELS
from ...services.registry import MOVE_DESTINATION_UNKNOWN, OPERATIONS
from ...upper_layer.negotiation import NegotiatedContext, SupportedContext
from ...values import field, frozen, replace
from ...wire.items import SOPClassExtendedNegotiation
from ..catalogue.options import QueryOptions
from ..holdings import Holdings
from .query import QUERY_LIMIT, read_identifier
from .service import NATIVE, Caller

if TYPE_CHECKING:
    import ssl

    from ...blocking.peer import Peer
    from ...dicomweb.credentials import Credentials
    from ...drivers.deadline import Timeouts
    from ...drivers.tls import ClientCertificate
    from ...exchange.web_addresses import WebAddress
    from ..catalogue.identifiers import Model
    from ..catalogue.query import Located, StoredInstance
    from .retrieval import Retrieval

_log = logging.getLogger(__name__)

# Refused: out of resources, unable to calculate the number of matches (PS3.4 Tables C.4-2 and C.4-3).
_CANNOT_COUNT = 0xA701
# Refused: out of resources, unable to perform sub-operations (PS3.4 Table C.4-2).
_CANNOT_SEND = 0xA702
# Many peers leave out the unique keys of the levels above.
_OPTIONS = QueryOptions(relational=True)
_IS_RELATIONAL = 1


@frozen
class RetrievePolicy:
    """What an archive gives out, and to whom.

    Parameters
    ----------
    destinations
        Where objects may be moved to, by AE title; also DICOMweb services, which are stored to by STOW-RS.
    jobs
        How many associations a C-MOVE may have side by side with its destination.
    transcoding
        Whether compressed objects are decompressed for a receiver that takes no other form of them.
    tls
        How destinations are reached by TLS, by AE title; others are reached without.
    credentials
        What gives that which a DICOMweb service is told of who asks, by AE title.

    Raises
    ------
    ValueError
        If ``jobs`` is less than 1.
    """

    destinations: Mapping[str, PeerAddress | WebAddress] = field(default_factory=dict)
    jobs: int = 1
    transcoding: Transcoding = Transcoding.IF_NEEDED
    tls: Mapping[str, ClientCertificate] = field(default_factory=dict)
    credentials: Mapping[str, Callable[[], Credentials | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.jobs < 1:
            raise ValueError("there is at least 1 association to move objects with")


def destinations_of(addresses: Iterable[str | PeerAddress]) -> dict[str, PeerAddress]:
    """Move destinations by AE title.

    Parameters
    ----------
    addresses
        Each with its AE title, as in ``WORKSTATION@10.0.0.7:11112``.

    Raises
    ------
    ValueError
        If one is not of that form, or two have the same AE title.
    """
    found: dict[str, PeerAddress] = {}
    for each in addresses:
        address = PeerAddress.parse(each) if isinstance(each, str) else each
        if isinstance(each, str) and "@" not in each:
            raise ValueError(f"{each!r} has no AE title; write AET@host:port, for instance {address}")
        title = address.ae_title.strip(" ")
        if found.setdefault(title, address) is not address:
            raise ValueError(f"there are two destinations with the AE title {title}")
    return found


def peer_of(policy: RetrievePolicy, title: str, calling: str, timeouts: Timeouts, window: int) -> Peer:
    """A destination as a peer to which objects are sent.

    Parameters
    ----------
    policy
        How it is reached.
    title
        The AE title of one of its destinations.
    calling
        The AE title that we call with.
    timeouts, window
        As of `Peer`.

    Raises
    ------
    ServiceRefusal
        With status 0xA702, if the files for TLS cannot be used, or the secret for a DICOMweb service cannot be had.
    """
    from ...blocking.peer import Peer

    tls, credentials = tls_to(policy, title), credentials_to(policy, title)
    try:
        return Peer(
            policy.destinations[title],
            calling=calling,
            tls=tls,
            timeouts=timeouts,
            window=window,
            jobs=policy.jobs,
            credentials=credentials,
        )
    except ValueError as error:
        # Such as a secret that would be sent without TLS.
        _log.warning("nothing can be sent to %s: %s", title, error)
        raise ServiceRefusal(_CANNOT_SEND, "the destination cannot be called as it is configured") from error


def credentials_to(policy: RetrievePolicy, title: str) -> Credentials | None:
    """What a destination is told of who asks, where it is a DICOMweb service; None for nothing.

    Raises
    ------
    ServiceRefusal
        As of `peer_of`.
    """
    from ...settings.mistakes import Mistakes

    secret = policy.credentials.get(title)
    try:
        return None if secret is None else secret()
    except (Mistakes, ValueError) as error:
        _log.warning("nothing can be sent to %s: %s", title, error)
        raise ServiceRefusal(_CANNOT_SEND, "what the destination is told of us cannot be had") from error


def tls_to(policy: RetrievePolicy, title: str) -> ssl.SSLContext | None:
    """The TLS context by which a destination is reached; None for plain TCP.

    Raises
    ------
    ServiceRefusal
        As of `peer_of`.
    """
    certificate = policy.tls.get(title)
    try:
        return None if certificate is None else certificate.context()
    except (OSError, ValueError) as error:
        # Errors of OpenSSL are such of the system.
        raise ServiceRefusal(_CANNOT_SEND, "the files for TLS cannot be used") from error


class _RetrieveService:
    """The base of both services.

    Parameters
    ----------
    holdings
        What is retrieved; it has an index.
    policy
        What is given out, and to whom.
    window
        How many C-STORE requests may be outstanding, if the receiver grants it.
    """

    operation: ClassVar[str]
    models: ClassVar[Mapping[str, Model]]

    def __init__(self, holdings: Holdings, policy: RetrievePolicy, window: int) -> None:
        self.holdings = holdings
        self.policy = policy
        self.window = window

    @property
    def contexts(self) -> Mapping[str, SupportedContext]:
        """The information models."""
        return dict.fromkeys(self.models, NATIVE)

    def agree(self, proposed: SOPClassExtendedNegotiation) -> tuple[None, bytes]:
        """Relational retrieval holds in any case; nothing else is agreed on (PS3.4 sections C.5.2 and C.5.3)."""
        asked = proposed.application_information
        return None, bytes((asked[:1] == bytes((_IS_RELATIONAL,)), *bytes(len(asked) - 1))) if asked else b""

    def open_sink(self, message: Message, context: NegotiatedContext, caller: Caller) -> MemorySink:
        """Where an identifier goes."""
        return MemorySink(QUERY_LIMIT)

    def handle(self, message: Message, context: NegotiatedContext, caller: Caller) -> Retrieval:
        """Find the objects, and begin to send them."""
        if not isinstance(message.data, MemorySink):
            raise ServiceRefusal(OPERATIONS[self.operation].handler_failed)
        self.check(message)
        try:
            found = self._locate(message.data.content, context)
        except ServiceRefusal as refusal:
            if refusal.status == OUT_OF_RESOURCES:
                raise ServiceRefusal(_CANNOT_COUNT, refusal.comment, refusal.offending) from refusal
            raise
        return self.begin(message, caller, found)

    def _locate(self, encoded: bytes | bytearray, context: NegotiatedContext) -> Located:
        from ...datasets.codec import decode_whole
        from ..catalogue.query import locate

        index = self.holdings.index_to_search()
        identifier = read_identifier(decode_whole, encoded, context.transfer_syntax)
        found = locate(index, self.models[context.abstract_syntax], identifier, options=_OPTIONS)
        return replace(found, objects=self._noted(found.objects))

    def _noted(self, objects: Iterable[StoredInstance]) -> Iterator[StoredInstance]:
        """The objects, with a note that each is given out when its turn comes."""
        for each in objects:
            self.holdings.uses.note(each.name.study)
            yield each

    def check(self, message: Message) -> None:
        """Refuse a request for what its command set says."""

    def begin(self, message: Message, caller: Caller, found: Located) -> Retrieval:
        """Begin to send objects."""
        raise NotImplementedError


class GetService(_RetrieveService):
    """The service that gives objects out on the association on which they are asked for. Parameters as of its base."""

    operation = "C-GET"
    models: ClassVar[Mapping[str, Model]] = {
        GET_MODELS["patient"]: "PATIENT",
        GET_MODELS["study"]: "STUDY",
        "1.2.840.10008.5.1.4.1.2.3.3": "PATIENT_STUDY_ONLY",
    }

    def begin(self, message: Message, caller: Caller, found: Located) -> Retrieval:
        from .retrieval import Get

        return Get(message, caller, found, self.holdings.storage, self.policy.transcoding, self.window)


class MoveService(_RetrieveService):
    """The service that sends objects to a destination from the configuration.

    Parameters
    ----------
    holdings, policy, window
        As of its base.
    ae_title
        The AE title that it calls with.
    timeouts
        The deadline of each stage of the associations with destinations.

    Attributes
    ----------
    timeouts
        As above; as `policy` and `window`, may be replaced at any time.
    """

    operation = "C-MOVE"
    models: ClassVar[Mapping[str, Model]] = {
        MOVE_MODELS["patient"]: "PATIENT",
        MOVE_MODELS["study"]: "STUDY",
        "1.2.840.10008.5.1.4.1.2.3.2": "PATIENT_STUDY_ONLY",
    }

    def __init__(
        self, holdings: Holdings, policy: RetrievePolicy, window: int, *, ae_title: str, timeouts: Timeouts
    ) -> None:
        super().__init__(holdings, policy, window)
        self._ae_title = ae_title
        self.timeouts = timeouts

    def check(self, message: Message) -> None:
        """Refuse a destination that is not configured."""
        self._destination(message)

    def begin(self, message: Message, caller: Caller, found: Located) -> Retrieval:
        from .retrieval import Move

        peer = peer_of(self.policy, self._destination(message), self._ae_title, self.timeouts, self.window)
        return Move(message, caller, found, self.holdings.storage, self.policy.transcoding, peer)

    def _destination(self, message: Message) -> str:
        title: str = message.command.get("MoveDestination", "").strip(" ")
        if title not in self.policy.destinations:
            raise ServiceRefusal(MOVE_DESTINATION_UNKNOWN, "the move destination is not configured")
        return title

"""The archive node: composes the store, the index and the DICOM server."""

from __future__ import annotations

import importlib
import logging
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.datasets import MemorySink, Sink
from ..dimse.messages import C_STORE_RQ, Message
from ..drivers.blocking.server import Server
from ..drivers.blocking.workers import Worker, WorkerProcesses
from ..drivers.deadline import Timeouts
from ..drivers.hooks import Phase, WithoutRetrieval
from ..drivers.reception import Reception
from ..drivers.transport import listen
from ..encoding.transfer_syntaxes import TRANSFER_SYNTAXES, transfer_syntax
from ..errors import ServiceRefusal
from ..exchange.addresses import MAXIMUM_LENGTH
from ..exchange.contexts import FIND_MODELS, VERIFICATION

# The log's words: what happens when the process is out of descriptors is logged without an import.
from ..services import descriptions as descriptions
from ..services.registry import OPERATIONS, SUCCESS
from ..services.service_classes import may_be_storage
from ..services.service_names import ServiceName
from ..services.sop_classes import SOP_CLASSES
from ..services.steps import STILL_SEARCHING, Answer, StillSearching
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    SupportedContext,
    accept,
    identification_items,
    items_of,
    refuse_names,
)
from ..wire.items import SOPClassExtendedNegotiation
from ..wire.pdu import LOCAL_LIMIT_EXCEEDED, AssociateAC, AssociateRJ, AssociateRQ
from .catalogue.options import LIMIT_REACHED, NO_OPTIONS, SUPPORTED, QueryOptions, QueryPolicy, agree
from .conflicts import OtherContent
from .entries import C_STORE_WAY, Source
from .filing import Progress
from .intake import KEPT_IN_QUARANTINE, QUARANTINE_COMMENT, Intake, Session
from .storage.files import Storage
from .upkeep import INDEX_NAME, Upkeep, open_index

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .catalogue.identifiers import Model
    from .catalogue.index import Index
    from .entries import Quarantined, Version
    from .ledger.ledger import Ledger

_log = logging.getLogger(__name__)

QUERY_LIMIT = 1 << 20
# What requests need besides what this module imports: for objects that are there in another form, and for queries.
_FOR_OBJECTS = ("pydicom.datadict",)
_FOR_QUERIES = (
    "dicomnet.datasets.codec",
    "dicomnet.archive.catalogue.query",
    "dicomnet.archive.ledger.ledger",
)
_FOR_FUZZY_QUERIES = ("dicomnet.archive.catalogue.fuzzy",) if SUPPORTED.fuzzy else ()
_MODELS: dict[str, Model] = {
    FIND_MODELS["patient"]: "PATIENT",
    FIND_MODELS["study"]: "STUDY",
    "1.2.840.10008.5.1.4.1.2.3.1": "PATIENT_STUDY_ONLY",
}

OnStored = Callable[[str, int], None]
OnRefused = Callable[[str, ServiceRefusal], None]


def _load(has_index: bool) -> None:
    """Import what requests need: when the first one comes, there may be no free file descriptor to import it with."""
    for name in (*_FOR_OBJECTS, *((*_FOR_QUERIES, *_FOR_FUZZY_QUERIES) if has_index else ())):
        importlib.import_module(name)
    if has_index:
        from ..datasets.character_sets import load_codecs

        load_codecs()


class Node:
    """An archive node: receives objects, stores them, and answers queries about them.

    Parameters
    ----------
    folder
        The store; created if it does not exist. The index lies inside it.
    address
        Host and port to listen on; port 0 chooses a free one.
    ae_title
        Its AE title. Association requests that call it by any other title are accepted, too.
    has_index
        Whether it answers queries.
    sync
        Whether an object is on the medium before it is acknowledged. Without, it survives the end of the process but
        not a power cut.
    tls
        TLS context of a server; None for plain TCP.
    timeouts
        The deadline of each stage, in seconds.
    maximum_associations
        How many associations may be open at once, in each worker process.
    window
        How many C-STORE requests a peer may have outstanding.
    accepts_private
        Whether it accepts unknown SOP classes, such as private ones, and stores their objects.
    on_stored
        Called after each C-STORE request with the SOP Instance UID and the status.
    on_refused
        Called with the SOP Instance UID of an object that is refused, as the peer gave it, and with the refusal, whose
        cause is the error with the file where it was one.
    strict
        Whether objects whose form breaks the standard are refused even where nothing is lost: those with zeros behind
        the last element, a delimiter with a length, encapsulated pixel data without a delimiter at its end, or file
        meta information in the data set. Without, they are kept as they were received, and the log says so.
    excess
        How many bytes longer than announced a P-DATA-TF may be, which is logged; 0 ends such an association.
    other_content
        What becomes of an object whose SOP Instance UID a stored object with other content has. The first is kept and
        the second put in quarantine, or takes its place, or is refused.
    database
        URL of the database for index and ledger, as of `Database`; None for files inside the folder.
    queries
        What queries may do.
    keys
        Attributes to be kept in the index besides those that it always keeps, so that they are keys of queries: texts
        of the form ``KEYWORD[,KEYWORD...]@LEVEL``. Those of objects that are there already are read from the files in
        the background.
    workers
        How many processes accept; see `WorkerProcesses`. With more than one, `on_stored` is called in them.

    Raises
    ------
    OSError
        If the folder cannot be used, or the address cannot be bound.
    ValueError
        If ``workers`` is less than 1, or one of ``keys`` cannot be kept.
    RuntimeError
        If there are to be several workers, and this platform cannot fork.
    DicomnetError
        If another process has the store, or the index is damaged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        address: tuple[str, int],
        ae_title: str = "DICOMNET",
        has_index: bool = True,
        sync: bool = True,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts | None = None,
        maximum_associations: int = 256,
        window: int = 16,
        accepts_private: bool = False,
        on_stored: OnStored | None = None,
        on_refused: OnRefused | None = None,
        strict: bool = False,
        excess: int = MAXIMUM_LENGTH,
        other_content: OtherContent = OtherContent.KEEP_FIRST,
        database: str | None = None,
        queries: QueryPolicy | None = None,
        keys: Sequence[str] = (),
        workers: int = 1,
    ) -> None:
        _load(has_index)
        self._excess = excess
        self.ae_title = ae_title
        self.queries = queries or QueryPolicy()
        self.timeouts = timeouts or Timeouts()
        self.maximum_associations = maximum_associations
        self.on_stored = on_stored
        self._slots: set[object] = set()
        self._slots_lock = threading.Lock()
        self._tls = tls
        self.acceptor = Acceptor(
            _supported(has_index),
            identification_items(MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            may_be_storage if accepts_private else None,
            performed_window=window,
        )
        self.storage = Storage(folder, sync=sync)
        self.stores = _Stores(self)
        self.index: Index | None = None
        self._other_content = other_content
        self._ledger: LedgerAtNeed | None = None
        self._upkeep: Upkeep | None = None
        try:
            # Without an index, there is no database at all.
            if has_index:
                self._ledger = LedgerAtNeed(database, folder)
                self.index = open_index(database or folder / INDEX_NAME, keys)
            # Without worker processes, nobody else has to see how far this one is.
            self._progress = None if workers == 1 else Progress(workers + 1)
            self._on_refused, self._is_strict = on_refused, strict
            self.intake = self._new_intake(0)
            self._recover()
            self._server: Server | WorkerProcesses = (
                Server(listen(address), self._receive, tls=tls)
                if workers == 1
                else WorkerProcesses(address, workers, self._work)
            )
        except BaseException:
            self._close_store()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        return self._server.address

    def start(self) -> None:
        """Begin to accept associations.

        Raises
        ------
        RuntimeError
            If there are to be several workers, and the process has threads.
        """
        if self.index is not None and isinstance(self._server, WorkerProcesses):
            # A connection to the database must not be carried through a fork; each worker opens its own when needed.
            self._close_databases()
        elif self.index is not None:
            self._begin_upkeep(self.index)
        self._server.start()

    def wait(self) -> None:
        """Wait until `shutdown` is done."""
        self._server.serve_forever()

    def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, let associations go on for up to ``drain`` seconds, end them, and close the store."""
        if self._server.shutdown(drain) is False:
            # Of what processes left that did not end in order, the next start files what cannot be filed now.
            self._recover()
        self._end_upkeep()
        self.intake.close()
        self._close_store()

    def take_slot(self, association: object) -> bool:
        """Count an association among those that are open, unless there are too many."""
        with self._slots_lock:
            if len(self._slots) >= self.maximum_associations:
                return False
            self._slots.add(association)
            return True

    def refused(self, sop_instance_uid: str, refusal: ServiceRefusal) -> None:
        """An object was refused."""
        if self._on_refused is not None:
            self._on_refused(sop_instance_uid, refusal)

    def give_slot_back(self, association: object) -> None:
        """An association is over."""
        with self._slots_lock:
            self._slots.discard(association)

    def _work(self, worker: Worker) -> bool:
        """Be a worker process: the store is this one's too, the index is opened anew."""
        self.storage.process = worker.number + 1
        self.intake = self._new_intake(self.storage.process)
        # One that ended before may have left something.
        self._recover()
        if worker.number == 0 and self.index is not None:
            self._begin_upkeep(self.index)
        worker.serve(Server(worker.listener, self._receive, tls=self._tls, share=worker.share))
        self._end_upkeep()
        is_filed = self.intake.close()
        self._close_databases()
        return is_filed

    def _begin_upkeep(self, index: Index) -> None:
        self._upkeep = Upkeep(self.storage, self.intake, index)
        self._upkeep.start()

    def _end_upkeep(self) -> None:
        if self._upkeep is not None:
            self._upkeep.stop()

    def _new_intake(self, process: int) -> Intake:
        return Intake(
            self.storage,
            self.index,
            is_strict=self._is_strict,
            other_content=self._other_content,
            ledger=self._ledger,
            progress=self._progress,
            process=process,
        )

    def _recover(self) -> None:
        count = self.intake.recover()
        if count:
            _log.warning(
                "%d objects that had been acknowledged are filed now; the last stop was not clean", count
            )

    def _close_databases(self) -> None:
        if self.index is not None:
            self.index.close()
        if self._ledger is not None:
            self._ledger.close()

    def _close_store(self) -> None:
        self._close_databases()
        self.storage.close()

    def _receive(self, peer: tuple[str, int]) -> Reception:
        hooks = _NodeHooks(self, peer[0])
        return Reception(hooks, self.timeouts, MAXIMUM_LENGTH, excess=self._excess, trouble=logging.WARNING)


class LedgerAtNeed:
    """The ledger in the folder of a store, which is opened, or made, when something is to be recorded in it.

    Parameters
    ----------
    url
        Its database; None for a file in the folder.
    folder
        The folder of the store.

    Raises
    ------
    LedgerUnusable, DatabaseFailure
        If there is one, and it cannot be used.
    """

    def __init__(self, url: str | None, folder: Path) -> None:
        from .ledger.ledger import FILE_NAME, ledger_url

        self._url = url or ledger_url(folder)
        self._lock = threading.Lock()
        self._opened: Ledger | None = None
        if url or (folder / FILE_NAME).exists():
            self._ledger()

    def quarantined(self, found: Quarantined) -> None:
        """Record an object in quarantine, as `Ledger.quarantined` does."""
        self._ledger().quarantined(found)

    def kept_version(self, version: Version) -> None:
        """Record an object that another one replaces, as `Ledger.kept_version` does."""
        self._ledger().kept_version(version)

    def close(self) -> None:
        """Close it; it is opened anew when needed."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def _ledger(self) -> Ledger:
        from .ledger.ledger import Ledger

        with self._lock:
            if self._opened is None:
                self._opened = Ledger(self._url)
            return self._opened


_ANSWERS = {
    SUCCESS: Answer(SUCCESS),
    KEPT_IN_QUARANTINE: Answer(KEPT_IN_QUARANTINE, elements={"ErrorComment": QUARANTINE_COMMENT}),
}


class _Stores:
    """How a node performs C-STORE requests."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def place(self, requests: Sequence[Message]) -> None:
        for session in _sessions(requests):
            session.place()

    def settle(self, requests: Sequence[Message]) -> list[Answer | ServiceRefusal]:
        sessions = _sessions(requests)
        try:
            outcomes = self._node.intake.commit(sessions)
        except BaseException:
            self._tell(sessions, [OPERATIONS["C-STORE"].handler_failed] * len(sessions))
            raise
        self._tell(sessions, outcomes)
        return [each if isinstance(each, ServiceRefusal) else _ANSWERS[each] for each in outcomes]

    def _tell(self, sessions: Sequence[Session], outcomes: Sequence[int | ServiceRefusal]) -> None:
        if self._node.on_stored is None:
            return
        for session, outcome in zip(sessions, outcomes, strict=True):
            status = outcome.status if isinstance(outcome, ServiceRefusal) else outcome
            try:
                self._node.on_stored(session.sop_instance, status)
            except Exception:  # noqa: BLE001
                # What is stored is answered, whatever becomes of the news.
                _log.exception("nobody could be told that %s was stored", session.sop_instance)


def _sessions(requests: Sequence[Message]) -> list[Session]:
    sessions = [request.data for request in requests]
    if not all(isinstance(each, Session) for each in sessions):
        raise TypeError("a C-STORE request is stored by a session of the intake")
    return cast(list[Session], sessions)


class _NodeHooks(WithoutRetrieval):
    """One association's way into the node."""

    def __init__(self, node: Node, address: str) -> None:
        self.stores = node.stores
        self._node = node
        self._address = address
        self._calling = ""
        self._agreed: dict[str, QueryOptions] = {}

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        refused = refuse_names(request)
        if refused is not None:
            return refused
        if not self._node.take_slot(self):
            return LOCAL_LIMIT_EXCEEDED
        self._calling = request.calling_ae_title
        return accept(request, self._node.acceptor, extended=self._agree(request))

    def _agree(self, request: AssociateRQ) -> Iterator[SOPClassExtendedNegotiation]:
        """The answers to SOP class extended negotiation; of two proposals for one class the first counts."""
        supported = self._node.acceptor.supported.keys() & _MODELS.keys()
        queried = supported & {context.abstract_syntax for context in request.contexts}
        for item in items_of(request.user_items, SOPClassExtendedNegotiation):
            sop_class = item.sop_class
            if sop_class in queried and sop_class not in self._agreed:
                asked = item.application_information
                self._agreed[sop_class], answer = agree(asked, self._node.queries.supported)
                yield SOPClassExtendedNegotiation(sop_class, answer)

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        if message.type is not C_STORE_RQ:
            return MemorySink(QUERY_LIMIT)
        return self._node.intake.open(
            context.abstract_syntax,
            message.command["AffectedSOPInstanceUID"],
            context.transfer_syntax,
            Source(self._calling, self._address, C_STORE_WAY),
        )

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        service = message.type.service
        if service == "C-ECHO":
            return Answer(SUCCESS)
        if service == "C-FIND" and isinstance(message.data, MemorySink):
            return self._find(message.data.content, context)
        raise ServiceRefusal(OPERATIONS[service].handler_failed)

    def next_answer(self, answers: Iterator[Answer | StillSearching]) -> Answer | StillSearching | None:
        return next(answers, None)

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        if message.type is C_STORE_RQ:
            self._node.refused(message.command.get("AffectedSOPInstanceUID", ""), refusal)

    def phase_changed(self, phase: Phase) -> None:
        if phase is not Phase.ESTABLISHED:
            # The peer may leave the connection open for a while.
            self._node.give_slot_back(self)

    def closed(self) -> None:
        self._node.give_slot_back(self)

    def _find(
        self, encoded: bytes | bytearray, context: NegotiatedContext
    ) -> Iterator[Answer | StillSearching]:
        from ..datasets.codec import decode_whole, encode
        from .catalogue.query import search

        assert self._node.index is not None
        # What was acknowledged before is found.
        self._node.intake.wait_for_all()
        syntax = transfer_syntax(context.transfer_syntax)
        how = (syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)
        identifier = _decoded(decode_whole, encoded, context.transfer_syntax)
        model = _MODELS[context.abstract_syntax]
        policy = self._node.queries
        options = policy.options(self._agreed.get(context.abstract_syntax, NO_OPTIONS))
        count = 0
        for found in search(self._node.index, model, identifier, options=options):
            if found is None:
                yield STILL_SEARCHING
                continue
            if count == policy.maximum:
                yield Answer(LIMIT_REACHED)
                return
            count += 1
            status, match = found
            data = encode(match, *how)
            if data is None:
                raise ServiceRefusal(0xC000, "a match could not be encoded")
            yield Answer(status, data)


def _decoded(decode: Callable[..., Dataset], encoded: bytes | bytearray, transfer_syntax_uid: str) -> Dataset:
    """An identifier that is whole: without what is cut off, a query would select more than was meant."""
    try:
        identifier = decode(encoded, transfer_syntax_uid)
        # pydicom decodes values when they are first used; what is wrong with them is to be known now.
        identifier.decode()
    except ServiceRefusal:
        raise
    except Exception as error:
        # pydicom raises whatever the peer's bytes lead to.
        raise ServiceRefusal(0xC000, "the identifier cannot be read") from error
    return identifier


def _supported(has_index: bool) -> dict[str, SupportedContext]:
    """Every storage class in any transfer syntax that is known, since objects are kept as they come."""
    any_syntax = SupportedContext(tuple(TRANSFER_SYNTAXES))
    supported = {uid: any_syntax for uid, row in SOP_CLASSES.items() if row.service is ServiceName.STORAGE}
    native = SupportedContext(("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))
    supported[VERIFICATION] = native
    if has_index:
        supported.update(dict.fromkeys(_MODELS, native))
    return supported

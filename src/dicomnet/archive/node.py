"""The archive node: composes the store, the index and the DICOM server."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..dimse.datasets import Sink
from ..dimse.messages import C_STORE_RQ, Message
from ..drivers.blocking.link import Link
from ..drivers.blocking.server import Server
from ..drivers.blocking.workers import Worker, WorkerProcesses
from ..drivers.hooks import Phase, WithoutRetrieval
from ..drivers.reception import Reception
from ..drivers.transport import listen
from ..errors import ServiceRefusal
from ..exchange.addresses import MAXIMUM_LENGTH

# The log's words: what happens when the process is out of descriptors is logged without an import.
from ..services import descriptions as descriptions
from ..services.descriptions import describe_pdu
from ..services.registry import OPERATIONS
from ..services.service_classes import may_be_storage
from ..services.steps import Answer, Performed, StillSearching, Stores
from ..upper_layer.negotiation import (
    Acceptor,
    Agreement,
    NegotiatedContext,
    accept,
    identification_items,
    items_of,
    refuse_names,
)
from ..values import replace
from ..wire.items import SOPClassExtendedNegotiation
from ..wire.pdu import (
    CALLING_TITLE_NOT_RECOGNIZED,
    LOCAL_LIMIT_EXCEEDED,
    AssociateAC,
    AssociateRJ,
    AssociateRQ,
)
from .access import NOT_AUTHORIZED, limited, names_in
from .activity import Activity
from .audit import AuditEvent, EventAction, EventKind
from .catalogue.options import SUPPORTED
from .holdings import Holdings
from .services.auditing import AssociationAudit, AuditedStores, association_refused
from .services.query import QueryService
from .services.retrieve import GetService, MoveService
from .services.service import Caller, Service
from .services.storage import OnStored, StorageService
from .services.verification import VerificationService
from .terms import Terms

if TYPE_CHECKING:
    from ..drivers.blocking.fair_share import FairShare
    from .services.retrieval import Retrieval
    from .tasks.control import Control
    from .watch.association import Tally
    from .watch.watch import Watch
    from .web.serving import BothPorts, WebServer

_log = logging.getLogger(__name__)

# What requests need besides what this module imports: for objects that are there in another form, and for queries.
_FOR_OBJECTS = ("pydicom.datadict",)
_FOR_QUERIES = (
    "dicomnet.archive.catalogue.encoded",
    "dicomnet.archive.catalogue.query",
    "dicomnet.archive.services.retrieval",
    "dicomnet.datasets.transcode",
    "dicomnet.blocking.lanes",
    "dicomnet.archive.catalogue.recovery",
    "dicomnet.archive.catalogue.filling",
    "dicomnet.archive.ledger.ledger",
    "dicomnet.archive.ledger.audits",
    "dicomnet.archive.tasks.control",
    "dicomnet.archive.deleting",
    "dicomnet.archive.trash",
    "dicomnet.archive.retaining",
)
_FOR_FUZZY_QUERIES = ("dicomnet.archive.catalogue.fuzzy",) if SUPPORTED.fuzzy else ()
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
        Its AE title.
    has_index
        Whether it answers queries.
    sync
        Whether an object is on the medium before it is acknowledged. Without, it survives the end of the process but
        not a power cut.
    tls
        TLS context of a server; None for that of the terms, or for plain TCP.
    terms
        What may be changed while it runs, see `change`; by default everybody may do everything.
    on_stored
        Called after each C-STORE request with the SOP Instance UID, the status, and the name of the object, None where
        it has none.
    on_refused
        Called with the SOP Instance UID of an object that is refused, as the peer gave it, and with the refusal, whose
        cause is the error with the file where it was one.
    strict
        Whether objects whose form breaks the standard are refused even where nothing is lost: those with zeros behind
        the last element, a delimiter with a length, encapsulated pixel data without a delimiter at its end, or file
        meta information in the data set. Without, they are kept as they were received, and the log says so.
    database
        URL of the database for index and ledger, as of `Database`; None for files inside the folder.
    keys
        Attributes to be kept in the index besides those that it always keeps, so that they are keys of queries: texts
        of the form ``KEYWORD[,KEYWORD...]@LEVEL``. Those of objects that are there already are read from the files in
        the background.
    workers
        How many processes accept; see `WorkerProcesses`. With more than one, `on_stored` is called in them.
    watch
        Host and port for health and metrics by HTTP; None for neither, and then nothing is counted.
    web
        Accepts connections for DICOMweb, as of `drivers.transport.listen`; it is the node's from then on. None for no
        DICOMweb.

    Raises
    ------
    OSError
        If the folder cannot be used, or the address cannot be bound.
    ValueError
        If ``workers`` is less than 1, one of ``keys`` cannot be kept, or there is to be DICOMweb without an index.
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
        terms: Terms | None = None,
        on_stored: OnStored | None = None,
        on_refused: OnRefused | None = None,
        strict: bool = False,
        database: str | None = None,
        keys: Sequence[str] = (),
        workers: int = 1,
        watch: tuple[str, int] | None = None,
        web: socket.socket | None = None,
    ) -> None:
        if web is not None and not has_index:
            raise ValueError("there is no DICOMweb without an index")
        _load(has_index)
        self.ae_title = ae_title
        self._on_refused = on_refused
        self._slots: set[object] = set()
        self._slots_lock = threading.Lock()
        self._tls = tls
        terms = terms or Terms()
        # The one that accepts in this process, or the workers and this one.
        processes = 1 if workers == 1 else workers + 1
        self.holdings = Holdings(
            folder,
            database=database,
            has_index=has_index,
            keys=keys,
            sync=sync,
            is_strict=strict,
            other_content=terms.other_content,
            processes=processes,
        )
        self.activity = Activity(processes)
        self.stores = StorageService(self.holdings, on_stored, gives_out=has_index)
        services: list[Service] = [
            VerificationService(),
            self.stores,
            *(self._finding(terms) if has_index else ()),
        ]
        self.services = {service.operation: service for service in services}
        self.operations = {uid: service.operation for service in services for uid in service.contexts}
        # What accepts associations in this process.
        self._accepting: Server | None = None
        self._control: Control | None = None
        self.watch: Watch | None = None
        self._web: WebServer | None = None
        self.terms = Terms()
        try:
            self._adopt(terms)
            if watch is not None:
                self.watch = _watching(self.holdings, watch, terms, processes)
            if web is not None:
                self._web = _web(self.holdings, web, terms, ae_title, self.activity)
            self._server: Server | BothPorts | WorkerProcesses = (
                self._accept(listen(address))
                if workers == 1
                else WorkerProcesses(address, workers, self._work, on_told=self._told)
            )
        except BaseException:
            if self.watch is not None:
                self.watch.close()
            self.holdings.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """The host and port it listens on."""
        return self._server.address

    @property
    def web_address(self) -> tuple[str, int] | None:
        """The host and port of DICOMweb; None if there is none."""
        return None if self._web is None else self._web.address

    @property
    def has_pages(self) -> bool:
        """Whether there are pages for people, at ``/`` of that address."""
        return self._web is not None and self._web.has_pages

    @property
    def watch_address(self) -> tuple[str, int] | None:
        """The host and port of health and metrics; None if they are not shown."""
        return None if self.watch is None else self.watch.address

    def start(self) -> None:
        """Begin to accept associations.

        Raises
        ------
        RuntimeError
            If there are to be several workers, and the process has threads.
        """
        if isinstance(self._server, WorkerProcesses):
            self.holdings.prepare_fork()
        else:
            self.holdings.begin_upkeep(self.ae_title)
        self._server.start()
        self._note(EventAction.START)
        if self._web is not None and isinstance(self._server, WorkerProcesses):
            self._web.forget()
        if self.watch is not None:
            self.watch.start()
        if self.holdings.index is not None and hasattr(socket, "AF_UNIX"):
            self._take_tasks()

    def wait(self) -> None:
        """Wait until `shutdown` is done."""
        self._server.serve_forever()

    def shutdown(self, drain: float = 0.0) -> None:
        """Stop accepting, let associations go on for up to ``drain`` seconds, end them, and close the store.

        Tasks of an administrator are stopped at once.
        """
        if self.watch is not None:
            self.watch.stopping()
        if self._control is not None:
            self._control.stop()
        is_in_order = self._server.shutdown(drain)
        if self._control is not None:
            self._control.close()
        if is_in_order is False:
            # Of what processes left that did not end in order, the next start files what cannot be filed now.
            self.holdings.recover()
        if self.watch is not None:
            self.watch.close()
        self._note(EventAction.STOP)
        self.holdings.close()

    @property
    def unfiled(self) -> list[tuple[str, Exception]]:
        """After `shutdown`: the SOP Instance UIDs of objects that only the journal has, each with the reason.

        The next node that has the store files them. Those of worker processes are not known here.
        """
        return self.holdings.intake.unfiled

    def change(self, terms: Terms) -> None:
        """Let other terms hold from now on; associations that are open go on under those that they began with.

        Raises
        ------
        ValueError, ssl.SSLError, OSError
            If the files for TLS cannot be used; nothing is changed then.
        """
        self._adopt(terms)
        self.holdings.tell_recording()
        self.holdings.audit.record(AuditEvent(EventKind.SECURITY_ALERT, EventAction.CONFIGURATION))
        if isinstance(self._server, WorkerProcesses):
            self._server.tell(pickle.dumps(terms))

    def take_slot(self, association: object) -> bool:
        """Count an association among those that are open, unless there are too many."""
        with self._slots_lock:
            if len(self._slots) >= self.terms.maximum_associations:
                return False
            self._slots.add(association)
            return True

    def refused(self, sop_instance_uid: str, refusal: ServiceRefusal, caller: Caller | None = None) -> None:
        """An object was refused."""
        self.activity.refused(
            refusal.comment,
            calling="" if caller is None else caller.ae_title,
            address="" if caller is None else caller.address,
            instance=sop_instance_uid,
        )
        if self._on_refused is not None:
            self._on_refused(sop_instance_uid, refusal)

    def give_slot_back(self, association: object) -> None:
        """An association is over."""
        with self._slots_lock:
            self._slots.discard(association)

    def _note(self, action: EventAction) -> None:
        """The audit trail says when the node was there, and since when it is kept."""
        self.holdings.tell_recording()
        self.holdings.audit.record(AuditEvent(EventKind.APPLICATION_ACTIVITY, action))

    def _take_tasks(self) -> None:
        from .tasks.control import Control

        try:
            self._control = Control(self.holdings)
        except OSError as error:
            _log.error("no command can have this node perform a task: %s", error)
        else:
            self._control.start()

    def _finding(self, terms: Terms) -> list[Service]:
        """The services that take an index."""
        holdings, retrieval, window = self.holdings, terms.retrieval, terms.window
        return [
            QueryService(holdings, terms.queries, self.ae_title),
            GetService(holdings, retrieval, window),
            MoveService(holdings, retrieval, window, ae_title=self.ae_title, timeouts=terms.timeouts),
        ]

    def _work(self, worker: Worker) -> bool:
        """Be a worker process."""
        self.holdings.be_process(worker.number + 1)
        self.activity.be_process(worker.number + 1)
        if self.watch is not None:
            self.watch.be_process(worker.number + 1)
        if worker.number == 0:
            self.holdings.begin_upkeep(self.ae_title)
        worker.serve(self._accept(worker.listener, worker.share))
        if self.watch is not None:
            self.watch.counts.leave()
        return self.holdings.leave()

    def _accept(self, listener: socket.socket, share: FairShare | None = None) -> Server | BothPorts:
        """What accepts in this process."""
        self._accepting = Server(listener, self._receive, tls=self._tls, share=share)
        if self._web is None:
            return self._accepting
        from .web.serving import BothPorts

        return BothPorts(self._accepting, self._web)

    def _receive(self, peer: tuple[str, int]) -> Reception:
        terms = self.terms
        hooks = _NodeHooks(self, peer[0])
        tally = None
        if self.watch is not None:
            tally = self.watch.tally()
            hooks = _WatchedHooks(self, peer[0], tally)
        return Reception(
            hooks,
            terms.timeouts,
            MAXIMUM_LENGTH,
            excess=terms.excess,
            meter=tally,
            trouble=logging.WARNING,
            opened=hooks.opened,
        )

    def _adopt(self, terms: Terms) -> None:
        """Let terms hold in this process, all of them or none."""
        tls = None if terms.tls is None else terms.tls.context()
        before, self.terms = self.terms, terms
        self.acceptor = Acceptor(
            {uid: context for each in self.services.values() for uid, context in each.contexts.items()},
            identification_items(MAXIMUM_LENGTH, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME),
            may_be_storage if terms.accepts_private else None,
            performed_window=terms.window,
            invoked_window=terms.window if GetService.operation in self.services else 1,
        )
        self.holdings.adopt_audit(terms.audit)
        self.holdings.other_content = terms.other_content
        self.holdings.retention = terms.retention
        if self.watch is not None:
            self.watch.adopt(terms)
        if self._web is not None:
            self._web.adopt(terms)
        for service in self.services.values():
            if isinstance(service, QueryService):
                service.policy = terms.queries
            elif isinstance(service, GetService | MoveService):
                service.policy, service.window = terms.retrieval, terms.window
            if isinstance(service, MoveService):
                service.timeouts = terms.timeouts
        if terms.log is not None and terms.log != before.log:
            terms.log.turn_on()
        if tls is not None:
            self._tls = tls
            if self._accepting is not None:
                self._accepting.tls = tls

    def _told(self, pickled: bytes) -> None:
        """Adopt terms in a worker or in its supervisor; they come from `change` in the process that forked it."""
        try:
            self._adopt(pickle.loads(pickled))
        except (ValueError, OSError) as error:
            _log.error("process %d goes on under the terms that it has: %s", os.getpid(), error)


class _NodeHooks(WithoutRetrieval):
    """One association's way into the node."""

    def __init__(self, node: Node, address: str) -> None:
        self.stores: Stores = node.stores
        self._audit: AssociationAudit | None = None
        self._node = node
        self._address = address
        self._agreed: dict[str, Any] = {}
        self._link: Link
        self._caller: Caller
        self._allowed: frozenset[str] = frozenset()
        # Among the associations that are shown.
        self._number: int | None = None

    def opened(self, link: Link) -> None:
        """The connection is there; under TLS its handshake is to come."""
        self._link = link

    def negotiate(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        answer = self._answer(request)
        titles = {"calling": request.calling_ae_title, "called": request.called_ae_title}
        if isinstance(answer, AssociateRJ):
            reason = ", ".join(describe_pdu(answer, {}))
            self._node.activity.refused(reason, address=self._address, **titles)
            association_refused(self._node.holdings.audit, request, self._address, reason)
        else:
            self._number = self._node.activity.opened(address=self._address, **titles)
            trail = self._node.holdings.audit
            if trail.is_on:
                self._audit = AssociationAudit(trail, request.calling_ae_title, self._address)
                self.stores = AuditedStores(self._node.stores, self._audit)
                self._caller = replace(self._caller, on_identifier=self._audit.identified)
        return answer

    def _answer(self, request: AssociateRQ) -> tuple[AssociateAC, Agreement] | AssociateRJ:
        terms = self._node.terms
        refused = refuse_names(request, called=terms.called_titles)
        if refused is not None:
            return refused
        names = names_in(self._link.channel.peer_certificate)
        self._allowed = terms.access.allowed(request.calling_ae_title, self._address, names)
        if not self._allowed:
            return CALLING_TITLE_NOT_RECOGNIZED
        if not self._node.take_slot(self):
            return LOCAL_LIMIT_EXCEEDED
        self._caller = Caller(request.calling_ae_title, self._address, self._agreed, self._link)
        acceptor = limited(self._node.acceptor, self._node.operations, self._allowed, request)
        return accept(request, acceptor, extended=self._agree(request))

    def _agree(self, request: AssociateRQ) -> Iterator[SOPClassExtendedNegotiation]:
        """The answers to SOP class extended negotiation; of two proposals for one class the first counts."""
        proposed = {context.abstract_syntax for context in request.contexts}
        for item in items_of(request.user_items, SOPClassExtendedNegotiation):
            sop_class = item.sop_class
            if sop_class in proposed and sop_class not in self._agreed:
                for service in self._node.services.values():
                    found = service.agree(item) if sop_class in service.contexts else None
                    if found is not None:
                        self._agreed[sop_class], answer = found
                        yield SOPClassExtendedNegotiation(sop_class, answer)

    def open_sink(self, message: Message, context: NegotiatedContext) -> Sink:
        return self._service(message).open_sink(message, context, self._caller)

    def handle(self, message: Message, context: NegotiatedContext) -> Any:
        service = self._service(message)
        if self._audit is not None:
            self._audit.asked(message, context)
        return service.handle(message, context, self._caller)

    def _service(self, message: Message) -> Service:
        operation = message.type.service
        service = self._node.services.get(operation)
        if service is None:
            raise ServiceRefusal(OPERATIONS[operation].handler_failed)
        if operation not in self._allowed:
            raise ServiceRefusal(NOT_AUTHORIZED, "this is not allowed to the peer")
        return service

    def next_answer(
        self, answers: Iterator[Answer | StillSearching | Performed]
    ) -> Answer | StillSearching | Performed | None:
        given = next(answers, None)
        if self._audit is not None:
            if given is None:
                self._audit.answered()
            elif isinstance(given, Performed):
                self._audit.performed(cast("Retrieval", answers))
        return given

    def finish(self, retrieval: Retrieval) -> Performed:
        """Send nothing more for a C-GET or C-MOVE."""
        left = retrieval.finish()
        if self._audit is not None:
            self._audit.performed(retrieval, is_over=True)
        return left

    def refused(self, message: Message, refusal: ServiceRefusal) -> None:
        if self._audit is not None:
            self._audit.refused(message, refusal)
        if message.type is C_STORE_RQ:
            self._node.refused(message.command.get("AffectedSOPInstanceUID", ""), refusal, self._caller)

    def phase_changed(self, phase: Phase) -> None:
        if phase is not Phase.ESTABLISHED:
            # The peer may leave the connection open for a while.
            self._end()

    def closed(self) -> None:
        self._end()

    def _end(self) -> None:
        self._node.give_slot_back(self)
        if self._audit is not None:
            self._audit.closed()
        number, self._number = self._number, None
        if number is not None:
            self._node.activity.closed(number)


class _WatchedHooks(_NodeHooks):
    """The same, where what happens is counted."""

    def __init__(self, node: Node, address: str, tally: Tally) -> None:
        super().__init__(node, address)
        self._tally = tally

    def opened(self, link: Link) -> None:
        super().opened(link)
        self._tally.opened(link)

    def next_answer(
        self, answers: Iterator[Answer | StillSearching | Performed]
    ) -> Answer | StillSearching | Performed | None:
        given = super().next_answer(answers)
        if isinstance(given, Performed):
            self._tally.performed(cast("Retrieval", answers), given)
        return given

    def finish(self, retrieval: Retrieval) -> Performed:
        left = super().finish(retrieval)
        self._tally.performed(retrieval, left)
        return left

    def phase_changed(self, phase: Phase) -> None:
        super().phase_changed(phase)
        self._tally.entered(phase)


def _watching(holdings: Holdings, address: tuple[str, int], terms: Terms, processes: int) -> Watch:
    # Nodes without it start without what it takes of libraries.
    from .watch.watch import Watch

    return Watch(holdings, address, terms, processes)


def _web(
    holdings: Holdings, listener: socket.socket, terms: Terms, ae_title: str, activity: Activity
) -> WebServer:
    # As above.
    from .web.application import application
    from .web.serving import WebServer

    return WebServer(listener, application(holdings, terms, ae_title, activity), terms.web.tls)

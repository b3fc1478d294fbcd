"""The application entity as pynetdicom's users know it: contexts, time-outs, `associate` and `start_server`."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pydicom.uid import UID

from .. import _config
from .._version import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from ..drivers.blocking.link import Link
from ..drivers.blocking.opening import open_link
from ..drivers.transport import Address, ListeningAddress
from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES as DEFAULT_TRANSFER_SYNTAXES
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import DicomnetError, NoAcceptedContext
from ..upper_layer.negotiation import identification_items
from ..values import replace
from ..wire.items import UserItem
from ..wire.pdu import MAXIMUM_CONTEXTS, AssociateRQ
from .association import Association
from .destinations import AEDestinations
from .events import Bindings, EventHandlerType
from .given_contexts import TransferSyntaxes, checked, context_of, remove_from
from .hooks import AssociationHooks, OpenUserSink
from .negotiation import AcceptedAssociations, AcceptorSettings
from .pdu_primitives import AddressInformation
from .presentation import PresentationContext
from .state import DEFAULT_TIMEOUTS
from .transport import AssociationServer
from .user_information import ServiceParameter
from .utils import address_of, set_ae, set_uid, title_of

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

DEFAULT_MAX_LENGTH = 16382
# Which stage of `Timeouts` each time-out is.
_STAGES = {
    "acse_timeout": "association",
    "dimse_timeout": "message",
    "network_timeout": "idle",
    "connection_timeout": "connect",
}


class ApplicationEntity:
    """A DICOM application entity, known as ``AE``: requests associations, and accepts them.

    Parameters
    ----------
    ae_title
        1 to 16 characters.
    """

    association_class: type[Association] = Association
    """The class of the associations that `associate` makes."""

    def __init__(self, ae_title: str | bytes = "PYNETDICOM") -> None:
        self.ae_title = ae_title
        self._timeouts = DEFAULT_TIMEOUTS
        self._maximum_associations = 10
        self._maximum_pdu_size = DEFAULT_MAX_LENGTH
        self._implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
        self._implementation_version_name: str | None = IMPLEMENTATION_VERSION_NAME
        self._require_called_aet = False
        self._require_calling_aet: list[str] = []
        self._requested_contexts: list[PresentationContext] = []
        self._supported_contexts: dict[UID, PresentationContext] = {}
        self._transcoding = Transcoding.NEVER
        self._servers: list[AssociationServer] = []
        self._accepted = AcceptedAssociations()
        self._lock = threading.Lock()
        self._requested: list[Association] = []

    @property
    def ae_title(self) -> str:
        """The AE title, 1 to 16 characters (PS3.8 section 9.3.2).

        Raises
        ------
        TypeError, ValueError
            When set to something that cannot be an AE title.
        """
        return self._ae_title

    @ae_title.setter
    def ae_title(self, value: str | bytes) -> None:
        self._ae_title = title_of(value, "AE title")

    @property
    def acse_timeout(self) -> float | None:
        """The time-out of negotiation and of release, in seconds; None is without end. 30 by default.

        Setting a time-out changes those of open associations too; a value that is not a time-out sets the default.
        """
        return self._timeouts.association

    @acse_timeout.setter
    def acse_timeout(self, value: float | None) -> None:
        self._set_timeout("acse_timeout", value)

    @property
    def dimse_timeout(self) -> float | None:
        """The time-out of waiting for a DIMSE message, in seconds; None is without end. 30 by default."""
        return self._timeouts.message

    @dimse_timeout.setter
    def dimse_timeout(self, value: float | None) -> None:
        self._set_timeout("dimse_timeout", value)

    @property
    def network_timeout(self) -> float | None:
        """The time-out of an association on which nothing happens, in seconds; None is without end. 60 by default."""
        return self._timeouts.idle

    @network_timeout.setter
    def network_timeout(self, value: float | None) -> None:
        self._set_timeout("network_timeout", value)

    @property
    def connection_timeout(self) -> float | None:
        """The time-out of opening a connection, in seconds; None is what the operating system allows."""
        return self._timeouts.connect

    @connection_timeout.setter
    def connection_timeout(self, value: float | None) -> None:
        self._set_timeout("connection_timeout", value or None)

    def _set_timeout(self, name: str, value: float | None) -> None:
        if value is not None and (not isinstance(value, int | float) or value < 0):
            _log.warning("%r is not a time-out in seconds, so the default is used", value)
            value = getattr(DEFAULT_TIMEOUTS, _STAGES[name])
        self._timeouts = replace(self._timeouts, **{_STAGES[name]: value})
        for assoc in self.active_associations:
            setattr(assoc, name, value)

    @property
    def maximum_associations(self) -> int:
        """The number of associations that its servers accept at once, at least 1. 10 by default.

        A further one is rejected as the local limit being exceeded (PS3.8 section 9.3.4).
        """
        return self._maximum_associations

    @maximum_associations.setter
    def maximum_associations(self, value: int) -> None:
        if not isinstance(value, int) or value < 1:
            _log.warning("the maximum number of associations is at least 1, so it is now 1")
            value = 1
        self._maximum_associations = value

    @property
    def maximum_pdu_size(self) -> int:
        """The largest PDU-length that it takes as an acceptor, in bytes; 0 is no limit (PS3.8 Annex D.1).

        Raises
        ------
        TypeError
            When set to something that is not an int.
        """
        return self._maximum_pdu_size

    @maximum_pdu_size.setter
    def maximum_pdu_size(self, value: int) -> None:
        if not isinstance(value, int):
            raise TypeError(f"the maximum PDU size must be an int, not {value!r}")
        if value < 0:
            _log.warning("the maximum PDU size is 0 or more, so the default is used")
            value = DEFAULT_MAX_LENGTH
        self._maximum_pdu_size = value

    @property
    def implementation_class_uid(self) -> UID:
        """The Implementation Class UID that it sends (PS3.7 Annex D.3.3.2).

        Raises
        ------
        TypeError, ValueError
            When set to something that is not a valid UID.
        """
        return self._implementation_class_uid

    @implementation_class_uid.setter
    def implementation_class_uid(self, value: str | UID) -> None:
        uid = set_uid(value, "Implementation Class UID", False, False, True)
        assert uid is not None
        if not uid.is_valid:
            raise ValueError(f"the Implementation Class UID {uid} is not a valid UID")
        self._implementation_class_uid = uid

    @property
    def implementation_version_name(self) -> str | None:
        """The Implementation Version Name that it sends, 1 to 16 characters or None (PS3.7 Annex D.3.3.2).

        Raises
        ------
        TypeError, ValueError
            When set to something else.
        """
        return self._implementation_version_name

    @implementation_version_name.setter
    def implementation_version_name(self, value: str | None) -> None:
        self._implementation_version_name = set_ae(value, "Implementation Version Name", False, True)

    @property
    def transcode(self) -> str:
        """Whether `send_c_store` may decompress: ``never`` or, where the peer leaves no other way, ``if-needed``.

        Setting it changes open associations too.

        Raises
        ------
        ValueError
            When set to something else.
        """
        return self._transcoding.value

    @transcode.setter
    def transcode(self, value: str) -> None:
        self._transcoding = Transcoding.parse(value)
        for assoc in self.active_associations:
            assoc.transcode = value

    @property
    def require_called_aet(self) -> bool:
        """Whether a request must call this AE by its title, or else is rejected (PS3.8 section 9.3.4)."""
        return self._require_called_aet

    @require_called_aet.setter
    def require_called_aet(self, value: bool) -> None:
        self._require_called_aet = bool(value)

    @property
    def require_calling_aet(self) -> list[str]:
        """The AE titles that may request associations, none for all; others are rejected (PS3.8 section 9.3.4).

        Raises
        ------
        TypeError, ValueError
            When set to a list with something that cannot be an AE title.
        """
        return self._require_calling_aet

    @require_calling_aet.setter
    def require_calling_aet(self, values: Sequence[str | bytes]) -> None:
        self._require_calling_aet = [title_of(value, "calling AE title") for value in values]

    @property
    def requested_contexts(self) -> list[PresentationContext]:
        """The contexts that are proposed to peers, up to 128 contexts (PS3.8 section 9.3.2.2).

        A list that is set is added to them, as `add_requested_context` does; an empty one removes all.

        Raises
        ------
        ValueError
            When set to more, or to something that `build_context` did not make.
        """
        return self._requested_contexts

    @requested_contexts.setter
    def requested_contexts(self, contexts: list[PresentationContext] | None) -> None:
        self._requested_contexts = checked([*self._requested_contexts, *contexts]) if contexts else []

    @property
    def supported_contexts(self) -> list[PresentationContext]:
        """The contexts that are accepted from peers, sorted by abstract syntax.

        A list that is set is added to them, as `add_supported_context` does; an empty one removes all.

        Raises
        ------
        ValueError
            When set to a list with something that is not a presentation context, or has no abstract syntax.
        """
        return sorted(self._supported_contexts.values(), key=lambda c: str(c.abstract_syntax))

    @supported_contexts.setter
    def supported_contexts(self, contexts: list[PresentationContext]) -> None:
        if contexts == []:
            self._supported_contexts = {}
        for context in contexts:
            if not isinstance(context, PresentationContext) or context.abstract_syntax is None:
                raise ValueError("supported contexts are presentation contexts with an abstract syntax")
            self.add_supported_context(context.abstract_syntax, context.transfer_syntax)
            kept = self._supported_contexts[context.abstract_syntax]
            kept.scu_role, kept.scp_role = context.scu_role, context.scp_role

    @property
    def active_associations(self) -> list[Association]:
        """The open associations, requested and accepted."""
        served = [assoc for server in self._servers for assoc in server.active_associations]
        return served + self._requested_alive()

    def _requested_alive(self) -> list[Association]:
        with self._lock:
            self._requested = [assoc for assoc in self._requested if assoc.is_alive()]
            return list(self._requested)

    def add_requested_context(
        self, abstract_syntax: str | UID, transfer_syntax: TransferSyntaxes = None
    ) -> None:
        """Propose an abstract syntax to peers.

        Parameters
        ----------
        abstract_syntax
            UID.
        transfer_syntax
            UIDs, by default Implicit, Explicit and Deflated Explicit VR Little Endian and Explicit VR Big Endian.

        Raises
        ------
        ValueError
            If there would be more than 128 contexts (PS3.8 section 9.3.2.2).
        """
        if len(self._requested_contexts) >= MAXIMUM_CONTEXTS:
            raise ValueError(
                f"an association has room for {MAXIMUM_CONTEXTS} presentation contexts; use a second one, or Peer"
            )
        self._requested_contexts.append(context_of(abstract_syntax, transfer_syntax))

    def add_supported_context(
        self,
        abstract_syntax: str | UID,
        transfer_syntax: TransferSyntaxes = None,
        scu_role: bool | None = None,
        scp_role: bool | None = None,
    ) -> None:
        """Accept an abstract syntax from peers; called again, with further transfer syntaxes.

        Parameters
        ----------
        abstract_syntax
            UID.
        transfer_syntax
            UIDs.
        scu_role, scp_role
            Whether a requestor that proposes role selection gets that role; None leaves its proposal unanswered.
        """
        for role in (scu_role, scp_role):
            if role is not None and not isinstance(role, bool):
                raise TypeError("a role is True, False or None")
        added = context_of(abstract_syntax, transfer_syntax)
        assert added.abstract_syntax is not None
        context = self._supported_contexts.setdefault(added.abstract_syntax, added)
        for syntax in added.transfer_syntax:
            if syntax not in context.transfer_syntax:
                context.add_transfer_syntax(syntax)
        context.scu_role = scu_role
        context.scp_role = scp_role

    def remove_requested_context(
        self, abstract_syntax: str | UID, transfer_syntax: TransferSyntaxes = None
    ) -> None:
        """Propose an abstract syntax no longer, or no longer with some transfer syntaxes."""
        self._requested_contexts = [
            context
            for context in self._requested_contexts
            if not remove_from(context, UID(abstract_syntax), transfer_syntax)
        ]

    def remove_supported_context(
        self, abstract_syntax: str | UID, transfer_syntax: TransferSyntaxes = None
    ) -> None:
        """Accept an abstract syntax no longer, or no longer with some transfer syntaxes."""
        uid = UID(abstract_syntax)
        context = self._supported_contexts.get(uid)
        if context is not None and remove_from(context, uid, transfer_syntax):
            del self._supported_contexts[uid]

    def associate(
        self,
        addr: str | tuple[str, int, int],
        port: int,
        contexts: list[PresentationContext] | None = None,
        ae_title: str | bytes = "ANY-SCP",
        max_pdu: int = DEFAULT_MAX_LENGTH,
        ext_neg: list[Any] | None = None,
        bind_address: tuple[str, int] | None = None,
        tls_args: tuple[ssl.SSLContext, str] | None = None,
        evt_handlers: Iterable[EventHandlerType] | None = None,
    ) -> Association:
        """Request an association, and wait for the answer.

        Parameters
        ----------
        addr, port
            Where the peer listens; an address of IPv6 may be given with flow info and scope ID.
        contexts
            Proposed instead of `requested_contexts`.
        ae_title
            The called AE title.
        max_pdu
            The largest PDU-length that we take, in bytes; 0 is no limit.
        ext_neg
            User information items of `dicomnet.pynetdicom.pdu_primitives`.
        bind_address
            The local host and port to connect from.
        tls_args
            A client's TLS context, and the host name that the certificate must have.
        evt_handlers
            Handlers for events: (event, handler) or (event, handler, [arguments]).

        Returns
        -------
        Association
            Its flags say whether it is established, rejected or aborted; ``failure`` says why. Where the peer accepts
            no presentation context, it is aborted.

        Raises
        ------
        TypeError
            If ``addr`` is not a str, ``port`` not an int, or ``bind_address`` not a tuple.
        RuntimeError
            If there is no context to propose.
        ValueError
            If a context or AE title is not valid.
        """
        address = address_of(addr, port)
        if bind_address is not None and not isinstance(bind_address, tuple):
            raise TypeError("the address to connect from is a tuple of host and port")
        proposed = checked(self._requested_contexts if contexts is None else contexts)
        request = self._request_for(proposed, ae_title, max_pdu, ext_neg or ())
        assoc = self._new_association(address, proposed, request, evt_handlers or ())
        try:
            self._establish(assoc, address, request, bind_address, tls_args)
        except BaseException:
            assoc.state.drop()
            raise
        return assoc

    def _request_for(
        self, contexts: list[PresentationContext], ae_title: str | bytes, max_pdu: int, ext_neg: Iterable[Any]
    ) -> AssociateRQ:
        if not contexts:
            raise RuntimeError("there is no presentation context to propose; add one or more first")
        items = list(ext_neg)
        if not all(isinstance(item, ServiceParameter) for item in items):
            raise TypeError("extended negotiation takes items of dicomnet.pynetdicom.pdu_primitives")
        user_items = self._with_identification(tuple(item.to_item() for item in items), max_pdu)
        return AssociateRQ(
            called_ae_title=title_of(ae_title, "called AE title", 4),
            calling_ae_title=self.ae_title,
            contexts=tuple(c.to_item(2 * index + 1) for index, c in enumerate(contexts)),
            user_items=user_items,
        )

    def _new_association(
        self,
        address: Address,
        contexts: list[PresentationContext],
        request: AssociateRQ,
        evt_handlers: Iterable[EventHandlerType],
    ) -> Association:
        bindings = Bindings(evt_handlers)
        assoc = self.association_class(self, "requestor", bindings, self._timeouts, self.transcode)
        assoc.acceptor.address_info = AddressInformation.as_given(address.host, address.port)
        assoc.acceptor.ae_title = request.called_ae_title
        assoc.requestor.requested_contexts = [
            context.with_id(2 * index + 1) for index, context in enumerate(contexts)
        ]
        assoc.requestor.negotiated(request)
        with self._lock:
            # Those that are over must not pile up in a program that never looks at `active_associations`.
            self._requested = [*(each for each in self._requested if each.is_alive()), assoc]
        return assoc

    def _establish(
        self,
        assoc: Association,
        address: Address,
        request: AssociateRQ,
        bind_address: tuple[str, int] | None,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> None:
        state = assoc.state
        hooks = AssociationHooks(assoc, self._destinations())
        hooks.requesting(request)
        try:
            link = open_link(
                address,
                request,
                hooks,
                self._timeouts,
                tls=tls_args,
                bind_address=bind_address,
                observer=hooks,
            )
            state.attach(link)
            assoc.requestor.address_info = AddressInformation(*link.channel.sock.getsockname())
            assoc.acceptor.address_info = _peer_of(link) or assoc.acceptor.address_info
            with link.exchange():
                link.secure()
                hooks.notify("EVT_CONN_OPEN")
                link.request(request)
            if not link.agreement.accepted:
                raise NoAcceptedContext(request.contexts[0].abstract_syntax)
        except NoAcceptedContext as error:
            # Nothing can be said on it, so programs expect that it is not established.
            _log.error("the peer accepted none of the %d presentation contexts", len(request.contexts))
            link.abort(failure=error)
        except DicomnetError as error:
            _log.error("%s", error)
            state.failure = error
            if state.link is None:
                hooks.unreachable()

    def _destinations(self) -> AEDestinations:
        return AEDestinations(self.associate, lambda: self.requested_contexts)

    def _with_identification(self, items: tuple[UserItem, ...], maximum_length: int) -> tuple[UserItem, ...]:
        given = {type(item) for item in items}
        identification = identification_items(
            maximum_length, str(self.implementation_class_uid), self.implementation_version_name
        )
        return items + tuple(item for item in identification if type(item) not in given)

    def acceptor_settings(self) -> AcceptorSettings:
        """The settings by which its servers accept associations, as they are now."""
        return AcceptorSettings(
            timeouts=self._timeouts,
            transcode=self.transcode,
            maximum_pdu_size=self.maximum_pdu_size,
            implementation_class_uid=str(self.implementation_class_uid),
            implementation_version_name=self.implementation_version_name,
            require_called_aet=self.require_called_aet,
            require_calling_aet=tuple(self.require_calling_aet),
            maximum_associations=self.maximum_associations,
            accepted=self._accepted,
            destinations=self._destinations(),
        )

    def start_server(
        self,
        address: ListeningAddress,
        block: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[EventHandlerType] | None = None,
        ae_title: str | bytes | None = None,
        contexts: list[PresentationContext] | None = None,
        *,
        open_sink: OpenUserSink | None = None,
        workers: int = 1,
    ) -> AssociationServer | None:
        """Accept associations.

        Parameters
        ----------
        address
            Host and port to listen on; of IPv6 perhaps with flow info and scope ID.
        block
            Serve until `shutdown`, which another thread calls, or Ctrl-C; else return the server at once.
        ssl_context
            A server's TLS context.
        evt_handlers
            Handlers for events: (event, handler) or (event, handler, [arguments]).
        ae_title
            Instead of this AE's.
        contexts
            Instead of `supported_contexts`.
        open_sink
            Gives the object that takes the data set of a C-STORE request as it arrives.
        workers
            How many processes accept on the address, so that parallel senders get more than one core. They are forked
            here, so the program must have no second thread yet; handlers run in them, each with its own copy of the
            program's memory, and `maximum_associations` and `active_associations` count in each of them. A worker
            that dies is replaced.

        Raises
        ------
        ValueError
            If nothing is supported, or ``workers`` is less than 1.
        OSError
            If the address cannot be bound.
        RuntimeError
            If there are to be several workers, and this platform cannot fork or the process has threads.
        """
        server = self.make_server(
            address, ae_title, contexts, ssl_context, evt_handlers, open_sink=open_sink, workers=workers
        )
        try:
            server.start()
        except BaseException:
            server.shutdown()
            raise
        if not block:
            return server
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            _log.info("the server is shut down by an interrupt")
        finally:
            server.shutdown()
        return None

    def make_server(
        self,
        address: ListeningAddress,
        ae_title: str | bytes | None = None,
        contexts: list[PresentationContext] | None = None,
        ssl_context: ssl.SSLContext | None = None,
        evt_handlers: Iterable[EventHandlerType] | None = None,
        server_class: type[AssociationServer] | None = None,
        **kwargs: Any,
    ) -> AssociationServer:
        """A server that is bound and does not serve yet; see `start_server`.

        Parameters
        ----------
        server_class
            Made instead of `AssociationServer`, with ``kwargs``.
        """
        supported = self.supported_contexts if contexts is None else contexts
        if not supported and not _config.UNRESTRICTED_STORAGE_SERVICE:
            raise ValueError("there is no supported presentation context; add one or more first")
        for context in supported:
            if (context.scu_role is None) is not (context.scp_role is None):
                raise ValueError(f"{context.abstract_syntax} supports one role and leaves the other one open")
        server = (server_class or AssociationServer)(
            self,
            address,
            title_of(ae_title or self.ae_title, "AE title", 4),
            [deepcopy(context) for context in supported],
            ssl_context,
            evt_handlers,
            **kwargs,
        )
        self._servers.append(server)
        return server

    def shutdown(self) -> None:
        """Abort all associations and stop all servers."""
        for assoc in self.active_associations:
            assoc.abort()
        for server in list(self._servers):
            server.shutdown()
        self._servers.clear()
        self._accepted = AcceptedAssociations()

    def __enter__(self) -> ApplicationEntity:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ae_title}>"

    def __str__(self) -> str:
        def contexts(title: str, each: Iterable[PresentationContext]) -> list[str]:
            lines = [f"  {title}:"]
            for context in each:
                name = context.abstract_syntax.name if context.abstract_syntax else ""
                lines.append(f"\t{name}")
                lines += [f"\t\t{syntax.name}" for syntax in context.transfer_syntax]
            return [*(lines if len(lines) > 1 else [*lines, "\tNone"]), ""]

        def seconds(value: float | None) -> str:
            return f"{value} s"

        lines = ["", f"Application Entity {self.ae_title}", ""]
        lines += contexts("Requested Presentation Contexts", self.requested_contexts)
        lines += contexts("Supported Presentation Contexts", self.supported_contexts)
        lines += [
            f"  ACSE timeout: {seconds(self.acse_timeout)}",
            f"  DIMSE timeout: {seconds(self.dimse_timeout)}",
            f"  Network timeout: {seconds(self.network_timeout)}",
            f"  Connection timeout: {seconds(self.connection_timeout)}",
            "",
        ]
        if self.require_calling_aet:
            lines.append(f"  Require calling AE title(s): {', '.join(self.require_calling_aet)}")
        lines.append(f"  Require called AE title: {self.require_called_aet}")
        lines += ["", f"  Association(s): {len(self.active_associations)}/{self.maximum_associations}"]
        return "\n".join(lines)


AE = ApplicationEntity


def _peer_of(link: Link) -> AddressInformation | None:
    """The address that the peer was reached at; None where the connection is over already."""
    try:
        return AddressInformation(*link.channel.sock.getpeername())
    except OSError:
        return None

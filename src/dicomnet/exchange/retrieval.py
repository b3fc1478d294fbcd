"""C-GET and C-MOVE as a handler describes them: where the objects go, how many there are, and the objects."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag

# Objects are converted for a destination, whose association may have taken the last free file descriptor.
from ..datasets import transcode  # noqa: F401
from ..dimse.messages import Message
from ..drivers.files import StoredObject, open_object
from ..drivers.hooks import Phase
from ..drivers.life import Life
from ..drivers.reading import open_stream
from ..encoding.identity import is_uid
from ..encoding.transfer_syntaxes import transfer_syntax
from ..errors import (
    AssociationError,
    NetworkError,
    NoAcceptedContext,
    ServiceRefusal,
    UnusableObject,
)
from ..services import user
from ..services.registry import (
    MOVE_DESTINATION_UNKNOWN,
    NO_SUB_OPERATION_PERFORMED,
    Operation,
    is_pending,
)
from ..services.sop_classes import COMMON_STORAGE
from ..services.steps import Answer, SubOperation, Work
from ..upper_layer.negotiation import Agreement
from ..values import field, frozen, mutable
from ..wire.fields import ae_title_bytes
from ..wire.pdu import MAXIMUM_CONTEXTS
from .answers import split_status
from .contexts import NATIVE, Context, Pair, pair_of
from .handling import END
from .messages import store_request, uids_of
from .store_requests import sub_operation_elements

_log = logging.getLogger(__name__)

# What pynetdicom's users know for a handler that fails before its first object.
_NO_COUNT = {"C-GET": 0xC413, "C-MOVE": 0xC513}
_NO_DESTINATION = 0xC514
_BAD_DESTINATION = 0xC515
_WITHOUT_BULK_DATA = "1.2.840.10008.5.1.4.1.2.5.3"
# Pixel Data, Float and Double Float Pixel Data, Pixel Data Provider URL, Spectroscopy Data.
_BULK_DATA = frozenset((0x7FE00010, 0x7FE00008, 0x7FE00009, 0x00287FE0, 0x56000020))
# Audio Sample Data, Curve Data, Overlay Data.
_REPEATING_BULK_DATA = frozenset(((0x5000, 0x200C), (0x5000, 0x3000), (0x6000, 0x3000)))
_WAVEFORM_DATA = 0x54001010
# After how many objects in a row that cost their association a destination counts as lost.
_PATIENCE = 3


@frozen
class Destination:
    """Where the objects of a C-MOVE go.

    Parameters
    ----------
    host, port
        Where it listens.
    options
        How the association with it is requested.
    """

    host: str
    port: int
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_handler(cls, value: Any) -> Destination:
        """From what a handler yields first: (host, port), (host, port, options), or (None, None).

        Raises
        ------
        ServiceRefusal
            0xA801 where the destination is not known, 0xC515 where it is none of these.
        """
        try:
            host, port, *rest = value
            options = dict(*rest) if rest != [None] else {}
        except (TypeError, ValueError) as error:
            raise ServiceRefusal(_BAD_DESTINATION) from error
        if host is None or port is None:
            raise ServiceRefusal(MOVE_DESTINATION_UNKNOWN, "the move destination is not known")
        if not isinstance(host, str) or not isinstance(port, int):
            raise ServiceRefusal(_BAD_DESTINATION)
        return cls(host, port, options)


def preparation_failed(operation: Operation, *, of_destination: bool) -> ServiceRefusal:
    """The refusal for a handler that fails before its first object."""
    return ServiceRefusal(_NO_DESTINATION if of_destination else _NO_COUNT[operation.service])


def unreachable(error: Exception | None) -> ServiceRefusal:
    """The refusal where no association with the destination can be opened."""
    _log.error("no association with the move destination: %s", error)
    return ServiceRefusal(MOVE_DESTINATION_UNKNOWN, "no association with the move destination")


def bad_destination(operation: Operation) -> ServiceRefusal:
    """The refusal where the destination of a handler cannot be one."""
    _log.exception("the handler for %s gives a destination that cannot be used", operation.event)
    return ServiceRefusal(_BAD_DESTINATION)


def count_of(value: Any, operation: Operation) -> int:
    """The number of sub-operations that a handler yields.

    Raises
    ------
    ServiceRefusal
        If it is none.
    """
    if not isinstance(value, int):
        _log.error("the handler for %s must yield the number of sub-operations", operation.event)
        raise ServiceRefusal(_NO_COUNT[operation.service])
    return max(value, 0)


def read_answer(result: Any, operation: Operation, request: Message) -> SubOperation | Answer:
    """Read what a handler yields for an object, or to end: a status, and a data set or the path of a file.

    Raises
    ------
    ServiceRefusal
        If it is not that.
    """
    try:
        status, content = result
    except (TypeError, ValueError) as error:
        _log.error("the handler for %s must yield a status and a data set", operation.event)
        raise ServiceRefusal(operation.handler_failed) from error
    code, elements = split_status(status, request.type.response)
    if is_pending(code):
        sub_operation = _sub_operation(content)
        if request.command.get("AffectedSOPClassUID") == _WITHOUT_BULK_DATA:
            return _lightened(sub_operation)
        return sub_operation
    failed = uids_of(content) if isinstance(content, Dataset) else ()
    return Answer(code, None, elements, failed)


def _sub_operation(content: Any) -> SubOperation:
    if isinstance(content, Dataset):
        return SubOperation(content, str(content.get("SOPInstanceUID") or ""))
    if not isinstance(content, str | Path) and not hasattr(content, "__fspath__"):
        return SubOperation(UnusableObject(f"a {type(content).__name__} is not an object that can be sent"))
    # A path may know which object it leads to, for the list of what has failed.
    instance = str(getattr(content, "sop_instance_uid", ""))
    try:
        stored = open_object(content)
    except UnusableObject as error:
        return SubOperation(UnusableObject(f"{os.fspath(content)}: {error}"), instance)
    except OSError as error:
        return SubOperation(
            UnusableObject(f"{os.fspath(content)} cannot be read: {error.strerror}"), instance
        )
    return SubOperation(stored, stored.header.sop_instance_uid)


def _lightened(sub_operation: SubOperation) -> SubOperation:
    """The same object without its bulk data."""
    source = sub_operation.source
    if isinstance(source, StoredObject):
        from pydicom import dcmread

        try:
            with open_stream(source.file) as stream:
                source = dcmread(stream, stop_before_pixels=True, force=True)
        except Exception as error:  # noqa: BLE001
            # pydicom raises whatever the content of the file leads to.
            return SubOperation(UnusableObject(str(error)), sub_operation.sop_instance_uid)
    if isinstance(source, Dataset):
        source = without_bulk_data(source)
    return SubOperation(source, sub_operation.sop_instance_uid)


def without_bulk_data(dataset: Dataset) -> Dataset:
    """A copy of an object without what a retrieval without bulk data leaves out (PS3.4 section Z.1.3)."""
    light = _without(dataset, _is_bulk_data)
    light.file_meta = getattr(dataset, "file_meta", FileMetaDataset())
    is_implicit, is_little_endian = dataset.original_encoding
    light.set_original_encoding(is_implicit, is_little_endian, dataset.original_character_set)
    if "WaveformSequence" in light:
        light.WaveformSequence = [
            _without(item, lambda tag: tag == _WAVEFORM_DATA) for item in light.WaveformSequence
        ]
    return light


def _without(dataset: Dataset, is_left_out: Callable[[BaseTag], bool]) -> Dataset:
    return Dataset({tag: element for tag, element in dataset.items() if not is_left_out(tag)})


def _is_bulk_data(tag: BaseTag) -> bool:
    # Curves and overlays are repeating groups.
    return tag in _BULK_DATA or (tag.group & 0xFF00, tag.element) in _REPEATING_BULK_DATA


def storing(
    request: Message, originator: str, agreement: Agreement, sub_operation: SubOperation, message_id: int
) -> Message:
    """The C-STORE-RQ of a sub-operation, with the priority of the request that it belongs to.

    Parameters
    ----------
    originator
        AE title of who requested it, see `sub_operation_elements`.

    Raises
    ------
    NoAcceptedContext, UnusableObject
        If the object cannot be sent.
    """
    source = sub_operation.source
    if isinstance(source, UnusableObject):
        raise source
    elements = sub_operation_elements(request, originator)
    try:
        return store_request(
            agreement,
            source,
            message_id,
            elements["Priority"],
            elements.get("MoveOriginatorApplicationEntityTitle"),
            elements.get("MoveOriginatorMessageID"),
        )
    except NoAcceptedContext:
        raise
    except Exception as error:
        # The object is the handler's, and pydicom raises whatever its content leads to.
        raise UnusableObject(str(error)) from error


def _need_of(sub_operation: SubOperation) -> Pair | None:
    """The SOP class and transfer syntax that an object needs, None where it has none and cannot be sent."""
    source = sub_operation.source
    try:
        if isinstance(source, StoredObject):
            need = pair_of(source)
        else:
            need = str(source.SOPClassUID), str(source.file_meta.TransferSyntaxUID)
    except AttributeError:
        return None
    return need if all(map(is_uid, need)) else None


class DestinationPlan:
    """Which presentation contexts a move destination is asked for, and whether it is asked again.

    Parameters
    ----------
    given
        Abstract syntaxes with their transfer syntaxes, by default those of the common storage SOP classes.
    is_fixed
        Whether nothing but those is proposed.
    """

    def __init__(self, given: Sequence[Context] = (), *, is_fixed: bool = False) -> None:
        self._given = given if given or is_fixed else [(uid, NATIVE) for uid in COMMON_STORAGE]
        self._is_fixed = is_fixed
        self._learned: dict[Context, None] = {}
        self._losses = 0

    @property
    def proposals(self) -> list[Context]:
        """The contexts to propose, as many as an association has room for: those that objects needed come first."""
        learned = list(self._learned)
        given = [each for each in self._given if each not in self._learned]
        return [*reversed(learned), *given][:MAXIMUM_CONTEXTS]

    def learn(self, sub_operation: SubOperation, agreement: Agreement | None) -> bool:
        """An object is to be sent; True if a new association has to be asked for what it needs.

        A file needs its own transfer syntax, so that it is sent as it is; a data set has to be encoded in any case.

        Parameters
        ----------
        agreement
            What was negotiated on the present association, None where there is none.
        """
        need = None if self._is_fixed else _need_of(sub_operation)
        if need is None:
            return False
        sop_class, own = need
        is_native = not transfer_syntax(own).is_encapsulated
        any_native = is_native and isinstance(sub_operation.source, Dataset)
        for context in agreement.contexts_for(sop_class) if agreement else ():
            accepted = context.transfer_syntax
            if accepted == own or (any_native and not transfer_syntax(accepted).is_encapsulated):
                return False
        own_alone: Context = (sop_class, (own,))
        if own_alone in self.proposals:
            return False
        # The peer may know another native one, which differs in headers only.
        for each in ([(sop_class, NATIVE)] if is_native else []) + [own_alone]:
            self._learned.pop(each, None)
            self._learned[each] = None
        return True

    def answered(self) -> None:
        """An object got its response."""
        self._losses = 0

    def lost(self) -> None:
        """An object cost the association, or got no response in time.

        Raises
        ------
        ServiceRefusal
            If that has happened to several in a row.
        """
        self._losses += 1
        if self._losses >= _PATIENCE:
            raise ServiceRefusal(NO_SUB_OPERATION_PERFORMED, "the move destination ends each association")


Link = TypeVar("Link", bound=Life)
Results = TypeVar("Results")
Outcome = TypeVar("Outcome")


@mutable
class Take:
    """Get what the handler yields next. Outcome: that, `END` after the last."""


@mutable
class Close:
    """Let the handler end, wherever it is. Outcome: None."""


@mutable
class Ask:
    """Send a request on an association. Outcome: the response."""

    link: Any
    request: Message


@mutable
class Connect:
    """Request an association with a move destination. Outcome: its link.

    Parameters
    ----------
    called
        The AE title that the C-MOVE names.
    contexts
        What to propose.
    """

    destination: Destination
    called: str
    contexts: Sequence[Context]


@mutable
class Release:
    """Release an association. Outcome: None."""

    link: Any


Step = Take | Close | Ask | Connect | Release | Work
Course = Generator[Step, Any, Outcome]


class RetrievalBase(Generic[Link, Results]):
    """The performing of a C-GET or C-MOVE by a handler, as generators whose steps a face performs.

    What `take`, `store` and `finish` give may have to be awaited.

    Parameters
    ----------
    link
        The association of the request.
    originator
        AE title of who requests it.
    results
        What the handler yields.
    operation
        Which of the two.
    request
        The request.
    """

    def __init__(
        self, link: Link, originator: str, results: Results, operation: Operation, request: Message
    ) -> None:
        self.count = 0
        self._results = results
        self._link = link
        self._originator = originator
        self._operation = operation
        self._request = request
        self._destination: Destination | None = None
        self._plan = DestinationPlan()
        # The association with the move destination.
        self._open: Link | None = None

    def abort(self) -> None:
        """Abort the association with the destination if it is still open."""
        if self._open is not None:
            self._open.abort()
            self._open = None

    def take(self) -> Any:
        """The next object, or the answer that ends it, or None after the last."""
        return self._perform(self._taking())

    def store(self, sub_operation: SubOperation) -> Any:
        """Send an object and wait for the response, a `Message`.

        Raises
        ------
        ServiceRefusal
            If no association with the destination can be opened.
        AssociationError, NetworkError, UnusableObject
            If this object was not sent, or not answered.
        """
        return self._perform(self._storing(sub_operation))

    def finish(self) -> Any:
        """Release the association with the destination, and let the handler end."""
        return self._perform(self._finishing())

    def _perform(self, course: Course[Any]) -> Any:
        """Perform the steps of a generator: what it returns."""
        raise NotImplementedError

    def _plan_for(self, destination: Destination) -> DestinationPlan:
        """The contexts to propose to a destination."""
        raise NotImplementedError

    def _beginning(self) -> Course[None]:
        """Take what the handler yields before the objects.

        Raises
        ------
        ServiceRefusal
            If the handler fails before the objects, or does not know the destination.
        """
        if self._operation.service == "C-MOVE":
            self._destination = Destination.from_handler((yield from self._prepare(of_destination=True)))
            try:
                ae_title_bytes(self._request.command["MoveDestination"], "the move destination")
            except ValueError as error:
                # What came from the peer cannot be called, whatever the handler makes of it.
                raise ServiceRefusal(MOVE_DESTINATION_UNKNOWN, str(error)) from error
            self._plan = self._plan_for(self._destination)
        self.count = count_of((yield from self._prepare()), self._operation)

    def _prepare(self, *, of_destination: bool = False) -> Course[Any]:
        try:
            result = yield Take()
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", self._operation.event)
            raise preparation_failed(self._operation, of_destination=of_destination) from error
        if result is END:
            _log.error("the handler for %s ended too early", self._operation.event)
            raise preparation_failed(self._operation, of_destination=of_destination)
        return result

    def _taking(self) -> Course[SubOperation | Answer | None]:
        """The next object, or the answer that ends it, or None after the last."""
        try:
            result = yield Take()
            if result is END:
                return None
            # A file is opened and looked at.
            answer: SubOperation | Answer = yield Work(
                partial(read_answer, result, self._operation, self._request)
            )
            return answer
        except ServiceRefusal:
            raise
        except Exception as error:
            _log.exception("the handler for %s failed", self._operation.event)
            raise ServiceRefusal(self._operation.handler_failed) from error

    def _storing(self, sub_operation: SubOperation) -> Course[Message]:
        """Send an object and wait for the response.

        Raises
        ------
        ServiceRefusal
            If no association with the destination can be opened.
        AssociationError, NetworkError, UnusableObject
            If this object was not sent, or not answered.
        """
        if self._destination is None:
            return (yield from self._send(self._link, sub_operation))
        link = yield from self._reach(self._destination, sub_operation)
        try:
            response = yield from self._send(link, sub_operation)
        except NoAcceptedContext:
            raise
        except (AssociationError, NetworkError):
            self._plan.lost()
            raise
        self._plan.answered()
        return response

    def _send(self, link: Link, sub_operation: SubOperation) -> Course[Message]:
        message_id = link.next_message_id()
        request = yield Work(
            partial(storing, self._request, self._originator, link.agreement, sub_operation, message_id)
        )
        response: Message = yield Ask(link, request)
        return response

    def _reach(self, destination: Destination, sub_operation: SubOperation) -> Course[Link]:
        """An association with the destination on which what this object needs was proposed."""
        present = self._open if self._open is not None and self._open.phase is Phase.ESTABLISHED else None
        is_new = self._plan.learn(sub_operation, present.agreement if present else None)
        if present is not None:
            if not is_new:
                return present
            yield Release(present)
        try:
            called = self._request.command["MoveDestination"]
            link: Link = yield Connect(destination, called, self._plan.proposals)
        except (AssociationError, NetworkError) as error:
            raise unreachable(error) from error
        except Exception as error:
            # The options are the handler's, and lead to whatever they lead to.
            raise bad_destination(self._operation) from error
        self._open = link
        return link

    def _finishing(self) -> Course[None]:
        """Release the association with the destination, and let the handler end."""
        if self._open is not None:
            yield Release(self._open)
            self._open = None
        yield from self._closing()

    def _closing(self) -> Course[None]:
        """Let the handler end, wherever it is."""
        try:
            yield Close()
        except Exception:  # noqa: BLE001
            _log.exception("the handler for %s failed at its end", self._operation.event)


# How both faces perform what is alike; each adds its own.
PERFORMERS: Mapping[type[Step], Callable[[Any, Any], Any]] = {
    Ask: lambda retrieval, step: step.link.run(user.one_reply(step.request)),
    Connect: lambda retrieval, step: retrieval._connect(step),
}

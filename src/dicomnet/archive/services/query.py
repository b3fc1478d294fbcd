"""Query: C-FIND in the Query/Retrieve Information Models (PS3.4 annex C)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from ...dimse.datasets import MemorySink
from ...dimse.messages import Message
from ...encoding.transfer_syntaxes import transfer_syntax
from ...errors import ServiceRefusal
from ...exchange.contexts import FIND_MODELS
from ...services.registry import OPERATIONS
from ...services.steps import STILL_SEARCHING, Answer, StillSearching
from ...upper_layer.negotiation import NegotiatedContext, SupportedContext
from ...wire.items import SOPClassExtendedNegotiation
from ..catalogue.options import LIMIT_REACHED, NO_OPTIONS, QueryOptions, QueryPolicy, agree
from ..holdings import Holdings
from .service import NATIVE, Caller

if TYPE_CHECKING:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import Dataset

    from ..catalogue.identifiers import Model

QUERY_LIMIT = 1 << 20
MODELS: dict[str, Model] = {
    FIND_MODELS["patient"]: "PATIENT",
    FIND_MODELS["study"]: "STUDY",
    "1.2.840.10008.5.1.4.1.2.3.1": "PATIENT_STUDY_ONLY",
}


class QueryService:
    """The service that finds what is stored.

    Parameters
    ----------
    holdings
        What is searched; it has an index.
    policy
        What queries may do.
    ae_title
        The AE title from which what is found can be retrieved.

    Attributes
    ----------
    policy
        As above; may be replaced at any time.
    """

    operation = "C-FIND"
    contexts: ClassVar[Mapping[str, SupportedContext]] = dict.fromkeys(MODELS, NATIVE)

    def __init__(self, holdings: Holdings, policy: QueryPolicy, ae_title: str) -> None:
        self._holdings = holdings
        self._ae_title = ae_title
        self.policy = policy

    def agree(self, proposed: SOPClassExtendedNegotiation) -> tuple[QueryOptions, bytes]:
        """What queries may do by agreement."""
        return agree(proposed.application_information, self.policy.supported)

    def open_sink(self, message: Message, context: NegotiatedContext, caller: Caller) -> MemorySink:
        """Where an identifier goes."""
        return MemorySink(QUERY_LIMIT)

    def handle(
        self, message: Message, context: NegotiatedContext, caller: Caller
    ) -> Iterator[Answer | StillSearching]:
        """The matches."""
        if not isinstance(message.data, MemorySink):
            raise ServiceRefusal(OPERATIONS[self.operation].handler_failed)
        return self._find(message.data.content, context, caller)

    def _find(
        self, encoded: bytes | bytearray, context: NegotiatedContext, caller: Caller
    ) -> Iterator[Answer | StillSearching]:
        from ...datasets.codec import decode_whole
        from ..catalogue.encoded import EncodedResponses
        from ..catalogue.query import search

        index = self._holdings.index_to_search()
        syntax = transfer_syntax(context.transfer_syntax)
        how = (syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)
        identifier = read_identifier(decode_whole, encoded, context.transfer_syntax)
        if caller.on_identifier is not None:
            caller.on_identifier(identifier)
        model = MODELS[context.abstract_syntax]
        policy = self.policy
        options = policy.options(caller.agreed.get(context.abstract_syntax, NO_OPTIONS))
        count = 0
        found = search(index, model, identifier, options=options)
        responses = EncodedResponses(found.request, how, retrieve_ae_title=self._ae_title)
        status = found.status
        for attributes in found.matches:
            if attributes is None:
                yield STILL_SEARCHING
                continue
            if count == policy.maximum:
                yield Answer(LIMIT_REACHED)
                return
            count += 1
            data = responses.encode(attributes)
            if data is None:
                raise ServiceRefusal(0xC000, "a match could not be encoded")
            yield Answer(status, data)


def _look_at(_data_set: Dataset, _element: DataElement) -> None:
    """Do nothing: the walk itself has decoded it."""


def read_identifier(
    decode: Callable[..., Dataset], encoded: bytes | bytearray, transfer_syntax_uid: str
) -> Dataset:
    """An identifier that is whole: without what is cut off, a query would select more than was meant."""
    try:
        identifier = decode(encoded, transfer_syntax_uid)
        # pydicom decodes values when they are first used; what is wrong with them is to be known now. Its `decode`
        # would decode names a second time, and take halves of characters for the equals signs between their groups.
        identifier.walk(_look_at)
    except ServiceRefusal:
        raise
    except Exception as error:
        # pydicom raises whatever the peer's bytes lead to.
        raise ServiceRefusal(0xC000, "the identifier cannot be read") from error
    return identifier

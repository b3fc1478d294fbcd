"""Presentation contexts: which are proposed for what is asked, and which accepted one a request goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ..encoding.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    PREFERRED_NATIVE,
    TRANSFER_SYNTAXES,
    Transcoding,
    transfer_syntax,
)
from ..errors import NoAcceptedContext
from ..upper_layer.negotiation import (
    Agreement,
    NegotiatedContext,
)
from ..wire.pdu import MAXIMUM_CONTEXTS

if TYPE_CHECKING:
    from .sendable import Sendable

VERIFICATION = "1.2.840.10008.1.1"
NATIVE = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
FIND_MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.1", "study": "1.2.840.10008.5.1.4.1.2.2.1"}
MOVE_MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.2", "study": "1.2.840.10008.5.1.4.1.2.2.2"}
GET_MODELS = {"patient": "1.2.840.10008.5.1.4.1.2.1.3", "study": "1.2.840.10008.5.1.4.1.2.2.3"}
MODALITY_WORKLIST = "1.2.840.10008.5.1.4.31"
MODALITY_PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"

# Of what is commonly compressed, where the peer does not tell the SOP classes: as many as leave room for 8 forms each.
COMMON_IMAGES = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.4.1",
    "1.2.840.10008.5.1.4.1.1.6.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.7.4",
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.12.2",
    "1.2.840.10008.5.1.4.1.1.77.1.4",
    "1.2.840.10008.5.1.4.1.1.128",
)

Pair = tuple[str, str]
# An abstract syntax with its transfer syntaxes.
Context = tuple[str, tuple[str, ...]]
Proposal = tuple[Context, ...]


def pair_of(stored: Sendable) -> Pair:
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
    may_help = (
        transcoding is Transcoding.NEVER
        and own in TRANSFER_SYNTAXES
        and not _is_convertible(own, transcoding)
    )
    advice = 'transcode "if-needed" would have it decompressed' if may_help else ""
    raise NoAcceptedContext(sop_class, own, tuple(accepted), instance, names, advice)


def _is_convertible(own: str, transcoding: Transcoding) -> bool:
    return transcoding is Transcoding.IF_NEEDED or not transfer_syntax(own).is_encapsulated


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
    """The contexts to propose for a C-GET: its model, and the storage SOP classes whose objects may come.

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
        # What does not retrieve starts without the table.
        from ..services.sop_classes import COMMON_STORAGE

        storage: list[Context] = [(uid, NATIVE) for uid in COMMON_STORAGE]
    else:
        storage = [(str(uid), (str(each),)) for uid, syntaxes in contexts.items() for each in syntaxes]
    if len(storage) >= MAXIMUM_CONTEXTS:
        raise ValueError(
            f"an association has room for {MAXIMUM_CONTEXTS - 1} contexts besides the C-GET's own"
        )
    return [(model, NATIVE), *storage]


def forms_of(classes: Sequence[str], syntaxes: Sequence[str]) -> dict[str, list[str]]:
    """SOP classes for a C-GET, each in as many transfer syntaxes as an association has room for, the first of them.

    Raises
    ------
    ValueError
        If there is no room for the native ones of each.
    """
    # One context is that of the C-GET itself.
    room = (MAXIMUM_CONTEXTS - 1) // len(classes)
    if room < len(NATIVE):
        raise ValueError(f"{len(classes)} SOP classes are too many for one association")
    return {uid: list(syntaxes[:room]) for uid in classes}


# What is proposed or supported: abstract syntaxes, each with its transfer syntaxes, or with the native ones.
Contexts = Iterable[str] | Mapping[str, Iterable[str]]


# By abstract syntax, whether the requestor of an association wants, or may have, the role of SCU and that of SCP.
Roles = Mapping[str, tuple[bool, bool]]


def contexts_of(contexts: Contexts, default: tuple[str, ...] = NATIVE) -> Proposal:
    """Abstract syntaxes with their transfer syntaxes, from what a caller gives.

    Parameters
    ----------
    default
        The transfer syntaxes where the caller names none.
    """
    if isinstance(contexts, Mapping):
        return tuple((str(uid), tuple(map(str, syntaxes))) for uid, syntaxes in contexts.items())
    return tuple((str(uid), default) for uid in contexts)

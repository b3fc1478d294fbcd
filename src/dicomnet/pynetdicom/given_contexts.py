"""Presentation contexts as programs give them to an application entity: checked, made and reduced."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.uid import UID

from ..encoding.transfer_syntaxes import DEFAULT_TRANSFER_SYNTAXES
from ..wire.pdu import MAXIMUM_CONTEXTS
from .presentation import PresentationContext, build_context

TransferSyntaxes = str | UID | Sequence[str] | Sequence[UID] | None


def context_of(abstract_syntax: str | UID, transfer_syntax: TransferSyntaxes) -> PresentationContext:
    """A context for an abstract syntax, by default with the default transfer syntaxes.

    Raises
    ------
    TypeError
        If a transfer syntax is not a str or UID.
    """
    if transfer_syntax is None:
        transfer_syntax = DEFAULT_TRANSFER_SYNTAXES
    if not isinstance(transfer_syntax, str) and not all(isinstance(each, str) for each in transfer_syntax):
        raise TypeError("transfer syntaxes are given as str or UID")
    return build_context(abstract_syntax, transfer_syntax)  # type: ignore[arg-type]


def checked(contexts: list[PresentationContext]) -> list[PresentationContext]:
    """The same contexts in a list of their own.

    Raises
    ------
    ValueError
        If there are more than 128, or one was not made by `build_context`.
    """
    if len(contexts) > MAXIMUM_CONTEXTS:
        raise ValueError(
            f"an association has room for {MAXIMUM_CONTEXTS} presentation contexts, not for {len(contexts)};"
            " use several, or Peer"
        )
    for context in contexts:
        if not isinstance(context, PresentationContext):
            raise ValueError("presentation contexts must be made by build_context()")
    return list(contexts)


def remove_from(context: PresentationContext, uid: UID, transfer_syntax: TransferSyntaxes) -> bool:
    """Remove transfer syntaxes from a context, if it has this abstract syntax; True if none is left."""
    if context.abstract_syntax != uid:
        return False
    if transfer_syntax is None:
        return True
    syntaxes = [transfer_syntax] if isinstance(transfer_syntax, str) else list(transfer_syntax)
    left = [syntax for syntax in context.transfer_syntax if syntax not in syntaxes]
    if left:
        context.transfer_syntax = left
    return not left

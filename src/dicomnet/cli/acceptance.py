"""Which SOP classes a peer takes, and in which transfer syntaxes: what `diagnose --contexts` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .requestor import Target, open_association, release
from .syntaxes import SYNTAXES
from .words import printable

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from ..exchange.contexts import Context, Pair


def write_acceptance(target: Target, options: Namespace) -> None:
    """Write a line for each SOP class: those that the peer takes, in JSON the others, too.

    Raises
    ------
    NetworkError, AssociationError
        If an association cannot be had.
    """
    from ..services.service_names import ServiceName
    from ..services.sop_classes import COMMON_STORAGE, SOP_CLASSES

    classes = [
        row.uid
        for row in SOP_CLASSES.values()
        if row.uid in COMMON_STORAGE or (row.is_listed and row.service is not ServiceName.STORAGE)
    ]
    # Whether a class is taken at all is found out first: most peers do not have most of them.
    taken = {uid for uid, _ in _accepted(target, [(uid, tuple(SYNTAXES)) for uid in classes])}
    each = [(uid, (syntax,)) for uid in classes if uid in taken for syntax in SYNTAXES]
    syntaxes: dict[str, list[str]] = {uid: [] for uid in classes}
    for uid, syntax in _accepted(target, each):
        syntaxes[uid].append(syntax)
    width = max((len(SOP_CLASSES[uid].keyword) for uid in taken), default=0)
    for uid, found in syntaxes.items():
        keyword = SOP_CLASSES[uid].keyword
        if options.json:
            import json

            print(json.dumps({"sop_class": keyword, "sop_class_uid": uid, "transfer_syntax_uids": found}))
        elif found:
            print(printable(f"{keyword:{width}}  {', '.join(map(SYNTAXES.__getitem__, found))}"))
    if not options.json and not options.quiet:
        print(f"{len(taken)} of {len(classes)} common SOP classes are taken")


def _accepted(target: Target, contexts: Sequence[Context]) -> list[Pair]:
    """The SOP classes and transfer syntaxes of those contexts that the peer takes."""
    from ..wire.pdu import MAXIMUM_CONTEXTS

    found: list[Pair] = []
    for begin in range(0, len(contexts), MAXIMUM_CONTEXTS):
        link = open_association(target, contexts[begin : begin + MAXIMUM_CONTEXTS])
        found += ((each.abstract_syntax, each.transfer_syntax) for each in link.agreement.accepted)
        release(link)
    return found

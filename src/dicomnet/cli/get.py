"""`dicomnet get`: retrieve over one association (C-GET)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..encoding.identity import is_uid
from ..errors import ProtocolError
from ..exchange.results import Receipt
from ..exchange.syntaxes import SYNTAXES
from ..plurals import counted
from .arguments import FAILED, OK, Parser, UsageError, count
from .matches import plain
from .pace import add_rate_option
from .requestor import add_peer_options, open_peer
from .retrieving import Retrieval, add_retrieve_options, retrieve_identifier
from .words import complain

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from pydicom.dataset import Dataset

    from ..blocking.peer import Peer


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Retrieve objects over one association (C-GET) into a folder, as SOP-INSTANCE-UID.dcm each. They come\n"
        "uncompressed, which not every peer can do with compressed ones: --any-syntax has them come as the peer has\n"
        "them. The exit status is 1 if any object failed or did not arrive.",
        "dicomnet get PACS@127.0.0.1:11112 -k StudyInstanceUID=1.2.3 --to study/\n"
        "dicomnet get PACS@127.0.0.1:11112 -k StudyInstanceUID=1.2.3 --any-syntax --to study/\n"
        "dicomnet get PACS@127.0.0.1:11112 -k PatientID=42 --sop-class CTImageStorage --any-syntax\n"
        "dicomnet get https://pacs.example/dicom-web -k StudyInstanceUID=1.2.3 --to study/ --jobs 4 --resume",
    )
    add_peer_options(parser, over_http=True)
    add_retrieve_options(parser)
    parser.add_argument(
        "-od",
        "--to",
        type=Path,
        default=Path(),
        metavar="DIR",
        help="the folder for the files, which replace those of the same name; made if it is not there (.)",
    )
    parser.add_argument(
        "--any-syntax",
        action="store_true",
        help="take compressed objects as they are, too; asks the peer first of which SOP classes they are (C-FIND),"
        " as an association has no room for each class in each form",
    )
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="of a DICOMweb service: how many requests there may be at a time (%(default)s)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="of a DICOMweb service: do not ask for objects that are in the folder already, whole",
    )
    add_rate_option(parser, "retrieve")
    parser.add_argument(
        "--sop-class",
        dest="sop_classes",
        action="append",
        default=[],
        metavar="CLASS",
        help="take only objects of this storage SOP class, a UID or a keyword as CTImageStorage; may be given"
        " several times",
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..exchange.contexts import GET_MODELS, find_model

    level, identifier = retrieve_identifier(options)
    model = find_model(level, options.model, GET_MODELS)
    classes = [_sop_class(text) for text in options.sop_classes]
    retrieval = Retrieval("get")
    receipt = Receipt()

    def known() -> str:
        if retrieval.last is None and not receipt.kept and not receipt.failures:
            return ""
        here = f", failed here {len(receipt.failures)}" if receipt.failures else ""
        return f"retrieved {len(receipt.kept)}{here}"

    with open_peer(options, jobs=options.jobs) as peer:
        is_web = not peer.address.ae_title
        _check_way(options, is_web=is_web)
        if options.any_syntax and not classes and not is_web:
            objects = list(_classes(peer, level, identifier, options))
            if not objects:
                complain("dicomnet get: the peer has nothing that matches")
                return FAILED
            classes = _proposable(objects, options)
        contexts = _contexts(classes, options) if classes else None
        with retrieval.told(known, options):
            responses = peer.get_identifier(
                identifier,
                model,
                to=options.to,
                contexts=contexts,
                receipt=receipt,
                resume=options.resume,
                rate=options.rate,
            )
            retrieval.follow(responses, options)
    retrieval.complain_of_missing()
    return OK if retrieval.is_complete else FAILED


def _check_way(options: Namespace, *, is_web: bool) -> None:
    """Raise UsageError for options of the other way."""
    if is_web and options.sop_classes:
        raise UsageError("--sop-class is for associations; over DICOMweb all objects come")
    if not is_web and (options.resume or options.jobs > 1):
        raise UsageError("--resume and --jobs of get are for DICOMweb; see dicomnet fetch")


def _sop_class(text: str) -> str:
    from ..services.sop_classes import SOP_CLASSES

    uids = {row.keyword: uid for uid, row in SOP_CLASSES.items()}
    uid = uids.get(text, text)
    if not uid.replace(".", "").isdecimal():
        raise UsageError(f"--sop-class: {text!r} is neither a UID nor the keyword of a SOP class")
    return uid


def _contexts(classes: list[str], options: Namespace) -> dict[str, list[str]]:
    """The forms of each class that there is room for."""
    from ..exchange.contexts import NATIVE, forms_of

    try:
        return forms_of(classes, tuple(SYNTAXES) if options.any_syntax else NATIVE)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _proposable(objects: list[list[str]], options: Namespace) -> list[str]:
    """The SOP classes to propose for objects with what the peer names as theirs; says what it cannot be.

    Those of images where none can be proposed.
    """
    from ..exchange.contexts import COMMON_IMAGES

    named = dict.fromkeys(uid for values in objects for uid in values)
    classes = list(filter(is_uid, named))
    without = sum(not any(map(is_uid, values)) for values in objects)
    if not options.quiet:
        bad = [f"{value[:64]!a}" for value in named if not is_uid(value)]
        if bad:
            more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
            complain(
                f"what the peer gives as SOP Class UID is not one, and left out: {', '.join(bad[:3])}{more}"
            )
        if not classes:
            complain(
                "the peer does not tell the SOP classes of its objects, so only the usual ones of images are"
                " taken; --sop-class takes others"
            )
        elif without:
            matches = counted(len(objects), "match", "matches")
            complain(
                f"the peer does not tell the SOP class in {without} of {matches}, so only the classes of the others are"
                " taken; --sop-class takes others"
            )
    return classes or list(COMMON_IMAGES)


def _classes(peer: Peer, level: str, identifier: Dataset, options: Namespace) -> Iterator[list[str]]:
    """What the peer names as the SOP class of each object; asked for from the top down, level by level.

    Empty where it names none, and once for what cannot be asked for.
    """
    keys = {each.keyword: each.value for each in identifier if each.keyword != "QueryRetrieveLevel"}
    # The information model is that of the retrieval.
    root = "patient" if level == "patient" else options.model
    try:
        for path in peer.walk("image", model=root, **{"SOPClassUID": None, **keys}):
            yield _values(plain(path[-1]).get("SOPClassUID"))
    except ProtocolError:
        # It is in the log, and the retrieval does not need it.
        yield []


def _values(value: object) -> list[str]:
    """The values of an attribute of a match that are not empty."""
    each = value if isinstance(value, list) else [value]
    return [str(one) for one in each if one]

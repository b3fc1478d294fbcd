"""`qrscp`: keeps what it receives in an archive of this package, and answers queries and retrievals from it."""

from __future__ import annotations

import logging
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..archive.entries import C_STORE_WAY, Source
from ..archive.holdings import Holdings
from ..archive.intake import Session
from ..archive.local import LocalFolder
from ..archive.storage.folder import FolderStorage
from ..cli.arguments import FAILED, OK, ae_title, port
from ..cli.words import printable
from ..dimse.messages import Message
from ..encoding.transfer_syntaxes import ALL_TRANSFER_SYNTAXES
from ..errors import ServiceRefusal
from ..exchange.contexts import VERIFICATION
from ..pynetdicom import events as evt
from ..pynetdicom.association import Association
from ..pynetdicom.events import Event, EventHandlerType
from ..upper_layer.negotiation import NegotiatedContext
from ..values import frozen
from . import models
from .configuration import Destinations, configure
from .findscu import log_identifier
from .options import LIMITS, Group, Tool, flag, row
from .receiving import CANNOT_UNDERSTAND, serve
from .requestor import application_entity
from .storescp import storage_contexts

if TYPE_CHECKING:
    from ..archive.catalogue.identifiers import Model
    from ..archive.catalogue.query import StoredInstance

_log = logging.getLogger(__name__)

_PENDING, _CANCEL, _IDENTIFIER_DOES_NOT_MATCH = 0xFF00, 0xFE00, 0xA900
_ROOTS: dict[str, Model] = {"patient": "PATIENT", "study": "STUDY", "psonly": "PATIENT"}
_TABLES = (models.FIND_MODELS, models.GET_MODELS, models.MOVE_MODELS)
# The root of each information model, and those that have no levels below that of studies (PS3.4 section C.6.3).
_MODELS = {table[name]: root for name, root in _ROOTS.items() for table in _TABLES}
_STUDY_LEVEL_ONLY = frozenset(table["psonly"] for table in _TABLES)


def run(options: Namespace) -> int:
    """Run the tool and return its exit status."""
    destinations = configure(options)
    folder, database = Path(options.instance_location), Path(options.database_location)
    if options.clean:
        return _clean(folder, database)
    ae = application_entity(options.ae_title, options)
    for context in storage_contexts():
        uid = context.abstract_syntax or ""
        ae.add_supported_context(uid, ALL_TRANSFER_SYNTAXES, scu_role=True, scp_role=True)
    for uid in (VERIFICATION, *_MODELS):
        ae.add_supported_context(uid)
    with Holdings(folder, database=database) as holdings:
        holdings.begin_upkeep()
        archive = _Archive(holdings, FolderStorage.beside(folder), options, destinations)
        address = (options.bind_address, options.port)
        return serve(ae, address, archive.handlers(), open_sink=archive.open_sink)


def _clean(folder: Path, database: Path) -> int:
    """Remove all objects and the index, if the user says so."""
    from ..archive.catalogue.index import discard

    print(f"All objects in {folder} will be deleted. Go on? [yes/no] ", end="", flush=True)
    if _answer() != "yes":
        print("nothing was deleted")
        return FAILED
    with LocalFolder(folder):
        for name in ("objects", "quarantine", "versions", "journal"):
            shutil.rmtree(folder / name, ignore_errors=not (folder / name).exists())
        discard(database)
    return OK


def _answer() -> str:
    try:
        return input().strip()
    except EOFError:
        return ""


class _Archive:
    """Event handlers over a folder of objects and its index."""

    def __init__(
        self, holdings: Holdings, files: FolderStorage, options: Namespace, destinations: Destinations
    ) -> None:
        self._holdings = holdings
        self._files = files
        self._ae_title: str = options.ae_title
        self._logs: bool = options.log_identifier
        self._destinations = destinations

    def handlers(self) -> list[EventHandlerType]:
        """The handlers of a server's events."""
        return [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_FIND, self._find),
            (evt.EVT_C_GET, self._get),
            (evt.EVT_C_MOVE, self._move),
        ]

    def open_sink(self, assoc: Association, message: Message, context: NegotiatedContext) -> Session:
        """The sink of an object as it arrives."""
        return self._holdings.intake.open(
            context.abstract_syntax,
            message.command["AffectedSOPInstanceUID"],
            context.transfer_syntax,
            Source(assoc.requestor.ae_title, assoc.requestor.address, C_STORE_WAY),
        )

    def _store(self, event: Event) -> int:
        session = event._message.data
        if not isinstance(session, Session):
            return CANNOT_UNDERSTAND
        status = session.commit()
        _log.info("stored %s", session.sop_instance)
        return status

    def _find(self, event: Event) -> Iterator[tuple[int, Any]]:
        from ..archive.catalogue.query import find

        model = self._model(event)
        for status, match in find(
            self._holdings.index_to_search(), model, event.identifier, retrieve_ae_title=self._ae_title
        ):
            if event.is_cancelled:
                yield _CANCEL, None
                return
            yield status, match

    def _get(self, event: Event) -> Iterator[Any]:
        return self._objects(event, self._locate(event))

    def _move(self, event: Event) -> Iterator[Any]:
        found = self._locate(event)
        destination = self._destinations.get(event.move_destination)
        if destination is None:
            _log.error("%s is not a configured destination", printable(str(event.move_destination)))
        yield destination or (None, None)
        yield from self._objects(event, found)

    def _objects(self, event: Event, found: list[StoredInstance]) -> Iterator[Any]:
        yield len(found)
        for each in found:
            if event.is_cancelled:
                yield _CANCEL, None
                return
            yield _PENDING, _InstancePath(self._files.path(each.name), each.name.instance)

    def _locate(self, event: Event) -> list[StoredInstance]:
        from ..archive.catalogue.query import locate

        model = self._model(event)
        return list(locate(self._holdings.index_to_search(), model, event.identifier).objects)

    def _model(self, event: Event) -> Model:
        uid = event.context.abstract_syntax
        if self._logs:
            log_identifier(
                f"a {event.event.name[4:]} request of {event.assoc.requestor.ae_title}", event.identifier
            )
        if uid in _STUDY_LEVEL_ONLY and event.identifier.get("QueryRetrieveLevel") not in (
            "PATIENT",
            "STUDY",
        ):
            raise ServiceRefusal(_IDENTIFIER_DOES_NOT_MATCH, "the model has no such level", (0x00080052,))
        return _MODELS[uid]


@frozen
class _InstancePath:
    """A file of the store, which names its object to the peer also where it cannot be read."""

    path: str
    sop_instance_uid: str

    def __fspath__(self) -> str:
        return self.path


TOOL = Tool(
    "Store what peers send (C-STORE), and answer queries (C-FIND) and retrievals (C-GET, C-MOVE).",
    "qrscp -v -c node.ini --instance-location /srv/dicom",
    (
        Group(
            "configuration",
            (row("-c", "--config", help="a file in INI format; the options go before it", metavar="FILE"),),
        ),
        Group(
            "network",
            (
                row("--port", help="the TCP port to listen on", type=port, metavar="PORT"),
                row("-aet", "--ae-title", help="our AE title", type=ae_title, metavar="AET"),
                *LIMITS,
                row("-ba", "--bind-address", help="the address to listen on", metavar="ADDRESS"),
            ),
        ),
        Group(
            "store",
            (
                row("--database-location", help="the file of the index", metavar="FILE"),
                row("--instance-location", help="the folder of the objects", metavar="DIR"),
                flag("--clean", help="delete all objects, and end"),
            ),
        ),
    ),
    run,
    {},
    logging.WARNING,
)

"""SCUs and SCPs of the normalized services under one shape each, ours and pynetdicom's."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydicom.dataset import Dataset
from pynetdicom import AE as ForeignAE  # noqa: N811
from pynetdicom import evt as foreign_evt

from dicomnet import AE, aio, evt

from .peers import aio_server

SERVICES = ("N-ACTION", "N-CREATE", "N-DELETE", "N-EVENT-REPORT", "N-GET", "N-SET")
# Name of a method of an association, its arguments, and those that are named.
Call = tuple[str, tuple[Any, ...], dict[str, Any]]
Reply = tuple[dict[str, Any], dict[str, Any] | None]


def data(**elements: Any) -> Dataset:
    """A data set with these elements."""
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def plain(dataset: Dataset | None) -> dict[str, Any] | None:
    """Keyword to value, or None."""
    return None if dataset is None else {element.keyword: element.value for element in dataset}


class Asked(NamedTuple):
    """What an SCP was asked for."""

    service: str
    sop_class: str
    instance: str | None
    type_id: int | None
    tags: tuple[int, ...]
    dataset: dict[str, Any] | None


Answer = Callable[[Asked], Any]

_DATA_SETS = {
    "N-ACTION": "action_information",
    "N-CREATE": "attribute_list",
    "N-EVENT-REPORT": "event_information",
    "N-SET": "modification_list",
}


# -- SCUs


def _reply(result: Any) -> Reply:
    status, reply = result if isinstance(result, tuple) else (result, None)
    told = plain(status)
    assert told is not None
    return told, plain(reply)


def _ask(ae: Any, port: int, uids: Sequence[str], calls: Sequence[Call]) -> list[Reply]:
    for uid in uids:
        ae.add_requested_context(uid)
    assoc = ae.associate("127.0.0.1", port, ae_title="ACCEPTOR")
    assert assoc.is_established
    try:
        return [_reply(getattr(assoc, name)(*given, **named)) for name, given, named in calls]
    finally:
        assoc.release()


def ask_by_ae(port: int, uids: Sequence[str], calls: Sequence[Call]) -> list[Reply]:
    """`dicomnet.AE`."""
    return _ask(AE("REQUESTOR"), port, uids, calls)


def ask_by_pynetdicom(port: int, uids: Sequence[str], calls: Sequence[Call]) -> list[Reply]:
    """pynetdicom's AE."""
    return _ask(ForeignAE("REQUESTOR"), port, uids, calls)


def ask_by_aio(port: int, uids: Sequence[str], calls: Sequence[Call]) -> list[Reply]:
    """`dicomnet.aio`."""

    async def ask() -> list[Reply]:
        async with await aio.connect(f"ACCEPTOR@127.0.0.1:{port}", uids, calling="REQUESTOR") as assoc:
            return [_reply(await getattr(assoc, name)(*given, **named)) for name, given, named in calls]

    return asyncio.run(ask())


OUR_SCUS = {"AE": ask_by_ae, "aio": ask_by_aio}


# -- SCPs


def asked_by(event: Any) -> Asked:
    """What an event of ours or of pynetdicom's asks for."""
    service = event.event.name.removeprefix("EVT_").replace("_", "-")
    request = event.request
    side = "Affected" if service in ("N-CREATE", "N-EVENT-REPORT") else "Requested"
    name = _DATA_SETS.get(service)
    instance = getattr(request, f"{side}SOPInstanceUID")
    return Asked(
        service,
        str(getattr(request, f"{side}SOPClassUID")),
        None if instance is None else str(instance),
        getattr(request, "ActionTypeID", getattr(request, "EventTypeID", None)),
        tuple(map(int, event.attribute_identifiers)) if service == "N-GET" else (),
        plain(getattr(event, name)) if name else None,
    )


@contextlib.contextmanager
def _serve(ae: Any, events: Any, uids: Sequence[str], answer: Answer) -> Iterator[int]:
    for uid in uids:
        ae.add_supported_context(uid)
    handlers = [
        (getattr(events, "EVT_" + service.replace("-", "_")), lambda event: answer(asked_by(event)))
        for service in SERVICES
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def ae_scp(uids: Sequence[str], answer: Answer) -> contextlib.AbstractContextManager[int]:
    """`dicomnet.AE`."""
    return _serve(AE("ACCEPTOR"), evt, uids, answer)


def pynetdicom_scp(uids: Sequence[str], answer: Answer) -> contextlib.AbstractContextManager[int]:
    """pynetdicom's AE."""
    return _serve(ForeignAE("ACCEPTOR"), foreign_evt, uids, answer)


def aio_scp(uids: Sequence[str], answer: Answer) -> contextlib.AbstractContextManager[int]:
    """`dicomnet.aio.serve`."""

    async def handle(request: aio.Request) -> Any:
        command: Mapping[str, Any] = request.message.command
        service = request.message.type.service
        side = "Affected" if service in ("N-CREATE", "N-EVENT-REPORT") else "Requested"
        asked = Asked(
            service,
            command[f"{side}SOPClassUID"],
            command.get(f"{side}SOPInstanceUID"),
            command.get("ActionTypeID", command.get("EventTypeID")),
            tuple(command.get("AttributeIdentifierList", ())),
            plain(request.dataset) if service in _DATA_SETS else None,
        )
        return answer(asked)

    return aio_server(uids, dict.fromkeys(SERVICES, handle))


OUR_SCPS = {"AE": ae_scp, "aio": aio_scp}

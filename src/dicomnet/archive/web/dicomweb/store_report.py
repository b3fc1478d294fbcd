"""What became of the objects of one upload: the Store Instances Response Module (PS3.18 Annex I), and its status."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from ....datasets.xml_model import to_xml
from ....dimse.datasets import OUT_OF_RESOURCES
from ...storage.store import ObjectName
from ..resources import Reference

JSON_TYPE, XML_TYPE = "application/dicom+json", "application/dicom+xml"

# Failure reasons (PS3.18 section I.2.2) besides those with which the intake refuses. The second is of the range for
# data sets that do not match; the standard has no code of its own for a study that is not that of the path.
CANNOT_UNDERSTAND = 0xC000
STUDY_DOES_NOT_MATCH = 0xA901
TRANSFER_SYNTAX_NOT_SUPPORTED = 0xC122
PROCESSING_FAILURE = 0x0110
SOP_CLASS_NOT_SUPPORTED = 0x0122

_RETRIEVE_URL, _OTHER_FAILURES = "00081190", "0008119A"
_FAILED, _STORED = "00081198", "00081199"
_CLASS, _INSTANCE, _WARNING, _REASON = "00081150", "00081155", "00081196", "00081197"
# Outcomes up to this many bytes are kept in memory, and then in a file without a name.
_IN_MEMORY = 1 << 20
_BLOCK = 1 << 16
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_REMARK_LIMIT = 300


class StoreReport:
    """The outcomes of an upload, as they come; they take no more memory the more there are. Close it at the end.

    Parameters
    ----------
    root
        URL of the service, without a slash at its end.
    study
        Study Instance UID of the path; None if it has none.

    Attributes
    ----------
    stored, warned, failed, unnamed
        How many objects were stored, how many of them not as the object of their UID, how many were not, and how many
        of those nobody knows the UID of.
    remark
        What is wrong with the whole, in printable ASCII; empty if nothing is.
    is_unsupported
        Whether something was refused for its media type.
    """

    def __init__(self, root: str, study: str | None = None) -> None:
        self._root = root
        self._studies = {study} if study is not None else set()
        # How many objects of which study were stored.
        self.of_studies: Counter[str] = Counter()
        self._rows: dict[str, IO[bytes]] = {}
        self._lacking = 0
        self.stored = self.warned = self.failed = self.unnamed = 0
        self._remark = ""
        self.is_unsupported = False

    def has_stored(self, sop_class: str, name: ObjectName, warning: int | None = None) -> None:
        """An object is stored; with a warning it is kept, but not as the object of its SOP Instance UID."""
        self.stored += 1
        self.of_studies[name.study] += 1
        # More than one are not told apart.
        if len(self._studies) < 2:
            self._studies.add(name.study)
        item: dict[str, Any] = _reference(sop_class, name.instance)
        if warning is None:
            path = Reference(name.study, name.series, name.instance).path
            item[_RETRIEVE_URL] = _value("UR", self._root + path)
        else:
            self.warned += 1
            # What is there to be retrieved is another object.
            item[_RETRIEVE_URL] = {"vr": "UR"}
            item[_WARNING] = _value("US", warning)
        self._add(_STORED, item)

    def has_failed(self, sop_class: str, sop_instance: str, reason: int) -> None:
        """An object is not stored; its UIDs may be empty."""
        self.failed += 1
        self._lacking += reason >> 8 == OUT_OF_RESOURCES >> 8
        item: dict[str, Any] = {_REASON: _value("US", reason)}
        if sop_instance:
            self._add(_FAILED, _reference(sop_class, sop_instance) | item)
        else:
            self.unnamed += 1
            self._add(_OTHER_FAILURES, item)

    @property
    def remark(self) -> str:
        return self._remark

    @remark.setter
    def remark(self, text: str) -> None:
        # It may have what a client sent, and gets into a header and into the log.
        self._remark = _UNPRINTABLE.sub("?", text).replace('"', "'").replace("\\", "/")[:_REMARK_LIMIT]

    @property
    def status(self) -> int:
        """The status code of HTTP (Table 10.5.3-1)."""
        if self.stored:
            return 202 if self.warned or self.failed or self.remark else 200
        if self.failed and self._lacking == self.failed:
            return 503
        if self.failed == self.unnamed:
            return 415 if self.is_unsupported else 400
        return 409

    def body(self, media_type: str) -> Iterator[bytes]:
        """The module, in pieces; the report is closed at the end of them.

        Parameters
        ----------
        media_type
            `JSON_TYPE` or `XML_TYPE`.
        """
        studies = self._studies if self.stored else ()
        url = self._root + Reference(next(iter(studies))).path if len(studies) == 1 else ""
        head: dict[str, Any] = {_RETRIEVE_URL: _value("UR", url) if url else {"vr": "UR"}}
        try:
            yield from (self._xml if media_type == XML_TYPE else self._json)(head)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of what is in files."""
        for each in self._rows.values():
            each.close()

    def _add(self, sequence: str, item: dict[str, Any]) -> None:
        rows = self._rows.get(sequence)
        if rows is None:
            rows = self._rows[sequence] = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        rows.write(json.dumps(dict(sorted(item.items())), separators=(",", ":")).encode() + b"\n")

    def _sequences(self) -> Iterator[tuple[str, Iterator[bytes]]]:
        """The sequences in the order of their tags, each with its items."""
        for tag, rows in sorted(self._rows.items()):
            rows.seek(0)
            yield tag, iter(rows)

    def _json(self, head: dict[str, Any]) -> Iterator[bytes]:
        yield json.dumps(head, separators=(",", ":")).encode()[:-1]
        for tag, items in self._sequences():
            yield f',"{tag}":{{"vr":"SQ","Value":['.encode()
            yield from _blocks(row[:-1] if at == 0 else b"," + row[:-1] for at, row in enumerate(items))
            yield b"]}"
        yield b"}"

    def _xml(self, head: dict[str, Any]) -> Iterator[bytes]:
        begin, end = _around(to_xml({}), "</")
        yield to_xml(head)[: -len(end)].encode()
        for tag, items in self._sequences():
            opening, closing = _around(to_xml({tag: {"vr": "SQ"}})[len(begin) : -len(end)], "</")
            yield opening.encode()
            yield from _blocks(
                f'<Item number="{number}">{to_xml(json.loads(row))[len(begin) : -len(end)]}</Item>'.encode()
                for number, row in enumerate(items, 1)
            )
            yield closing.encode()
        yield end.encode()


def _reference(sop_class: str, sop_instance: str) -> dict[str, Any]:
    """The SOP Instance Reference Macro (PS3.3 Table 10-11)."""
    return {_CLASS: _value("UI", sop_class), _INSTANCE: _value("UI", sop_instance)}


def _value(vr: str, value: str | int) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value != "" else {"vr": vr}


def _around(text: str, mark: str) -> tuple[str, str]:
    """What of an element stands in front of its content, and behind it."""
    at = text.rindex(mark)
    return text[:at], text[at:]


def _blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same in larger pieces."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)

"""The Native DICOM Model (PS3.19 section A.1): XML from a DICOM JSON Model, and back.

Both models have the same parts, so that `json_model` is what knows values. XML 1.0 has no characters for most control
codes; the replacement character stands for them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from pydicom.datadict import keyword_for_tag

from ..encoding.vrs import VRS
from .structure import known_representations

NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"

_BEGIN = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
)
_END = "</NativeDicomModel>\n"
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# A carriage return would be read as a line feed.
_ENTITIES = {"\r": "&#13;"}
_QUOTED = {**_ENTITIES, '"': "&quot;", "\t": "&#9;", "\n": "&#10;"}
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
# Elements around one another: an attribute and an item for each sequence, and a few within.
_DEPTH_LIMIT = 160
# How many elements a document may have, which take many times the memory of their text, and how long a tag may be.
_ELEMENTS_LIMIT = 500_000
_LONG_TAG = re.compile(rb"<[^<>]{4096}")


def to_xml(model: Mapping[str, Any]) -> str:
    """A data set in the Native DICOM Model.

    Parameters
    ----------
    model
        Its JSON model, as `json_model.to_json` gives it.
    """
    return "".join([_BEGIN, *_attributes(model), _END])


def _attributes(model: Mapping[str, Any]) -> Iterator[str]:
    blocks = _blocks(model)
    for name, attribute in model.items():
        tag, vr = int(name, 16), attribute["vr"]
        keyword = keyword_for_tag(tag)
        creator = blocks.get(tag >> 8)
        if creator and tag >> 8 == next(block for block, other in blocks.items() if other == creator):
            # The block is not told (section A.1.5), unless that would mix up two of one creator.
            name = f"{tag & 0xFFFF00FF:08X}"
        yield f'<DicomAttribute tag="{name}" vr="{vr}"'
        if keyword:
            yield f' keyword="{keyword}"'
        if creator:
            yield f' privateCreator="{_text(creator[1], _QUOTED)}"'
        yield ">"
        if "BulkDataURI" in attribute:
            yield f'<BulkData uri="{_text(attribute["BulkDataURI"], _QUOTED)}"/>'
        elif "InlineBinary" in attribute:
            yield f"<InlineBinary>{attribute['InlineBinary']}</InlineBinary>"
        else:
            write = _WRITERS.get(vr, _value)
            for number, value in enumerate(attribute.get("Value", ()), 1):
                yield from write(number, value)
        yield "</DicomAttribute>"


def _blocks(model: Mapping[str, Any]) -> dict[int, tuple[int, str]]:
    """The blocks of private elements that are reserved (PS3.5 section 7.8.1): by what their tags begin with, the group
    and who has reserved them."""
    blocks = {}
    for name, attribute in model.items():
        tag, values = int(name, 16), attribute.get("Value")
        is_creator = tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF
        if is_creator and values and isinstance(values[0], str):
            blocks[tag >> 16 << 8 | tag & 0xFF] = tag >> 16, values[0]
    return blocks


def _text(text: str, entities: dict[str, str]) -> str:
    return escape(_UNWRITABLE.sub("\ufffd", text), entities)


def _value(number: int, value: Any) -> Iterator[str]:
    text = "" if value is None else value if isinstance(value, str) else repr(value)
    yield f'<Value number="{number}">{_text(text, _ENTITIES)}</Value>'


def _item(number: int, value: Any) -> Iterator[str]:
    yield f'<Item number="{number}">'
    yield from _attributes(value)
    yield "</Item>"


def _person_name(number: int, value: Any) -> Iterator[str]:
    yield f'<PersonName number="{number}">'
    for group in _GROUPS:
        if group in (value or ()):
            components = value[group].split("^", len(_COMPONENTS) - 1)
            yield f"<{group}>"
            for name, component in zip(_COMPONENTS, components, strict=False):
                if component:
                    yield f"<{name}>{_text(component, _ENTITIES)}</{name}>"
            yield f"</{group}>"
    yield "</PersonName>"


_WRITERS: dict[str, Callable[[int, Any], Iterator[str]]] = {"SQ": _item, "PN": _person_name}


def from_xml(content: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The JSON model of a data set in the Native DICOM Model; `json_model.from_json` makes a data set of it.

    Parameters
    ----------
    content
        The XML document. One with a document type declaration is refused, since it may be a bomb.

    Raises
    ------
    ValueError
        If it is not well-formed, or not in that model; says what is wrong.
    """
    root = _parsed(bytes(content))
    if _name(root) != "NativeDicomModel":
        raise ValueError(f"the XML is not a Native DICOM Model: it begins with {_name(root)}")
    return _read_attributes(root, "")


def _parsed(content: bytes) -> Element:
    parser = expat.ParserCreate(namespace_separator="}")
    builder = TreeBuilder()
    depth = count = 0
    if _LONG_TAG.search(content):
        raise ValueError("the XML has a tag that is longer than any of the model")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > _DEPTH_LIMIT:
            raise ValueError("the XML is nested too deeply")
        if count > _ELEMENTS_LIMIT:
            raise ValueError(f"the XML has more than {_ELEMENTS_LIMIT} elements")
        builder.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name)

    def refuse(*_: object) -> None:
        raise ValueError("the XML has a document type declaration, which is not taken")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as error:
        # The second is of an encoding that nobody knows.
        raise ValueError(f"the XML is not well-formed: {error}") from error
    root: Element = builder.close()
    return root


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_attributes(parent: Element, place: str) -> dict[str, Any]:
    model: dict[str, Any] = {}
    # Those come first that may be private creators.
    for element in sorted(parent, key=lambda element: "privateCreator" in element.attrib):
        if _name(element) != "DicomAttribute":
            raise ValueError(f"{place or 'the data set'} has {_name(element)} in place of a DicomAttribute")
        text = element.get("tag", "")
        here = f"{place}/{text}" if place else text
        if not _TAG.fullmatch(text):
            raise ValueError(f"{here}: a tag of eight hexadecimal digits is expected")
        tag = int(text, 16)
        if "privateCreator" in element.attrib:
            tag = _private_tag(model, tag, element.attrib["privateCreator"], here)
        vr = element.get("vr") or next(iter(known_representations(tag)), "UN")
        if vr not in VRS:
            raise ValueError(f"{here}: {vr!r} is not a value representation of DICOM")
        if f"{tag:08X}" in model:
            raise ValueError(f"{here} is there twice")
        model[f"{tag:08X}"] = {"vr": vr, **_content(element, here)}
    return dict(sorted(model.items()))


def _private_tag(model: dict[str, Any], tag: int, creator: str, place: str) -> int:
    """The tag of a private element, whose block is reserved if it is not yet."""
    if not tag >> 16 & 1:
        raise ValueError(f"{place} has a private creator, and is no private element")
    if tag & 0xFF00:
        return tag
    group = tag >> 16
    reserved = _blocks(model)
    found = [block & 0xFF for block, owner in reserved.items() if owner == (group, creator.strip(" "))]
    free = (block for block in range(0x10, 0x100) if f"{group:04X}{block:04X}" not in model)
    block = found[0] if found else next(free, 0)
    if not block:
        raise ValueError(f"{place}: no block of private elements is left in its group")
    if not found:
        model[f"{group:04X}{block:04X}"] = {"vr": "LO", "Value": [creator.strip(" ")]}
    return tag | block << 8


def _content(element: Element, place: str) -> dict[str, Any]:
    kinds = {_name(child) for child in element}
    if not kinds:
        return {}
    kind = kinds.pop()
    if kinds:
        raise ValueError(f"{place} has both {kind} and {kinds.pop()}")
    if kind in _SINGLE:
        if len(element) > 1:
            raise ValueError(f"{place} has more than one {kind}")
        return _SINGLE[kind](element[0], place)
    if kind not in _READERS:
        raise ValueError(f"{place} has {kind}, which is not part of the model")
    return {"Value": [_READERS[kind](child, place) for child in _in_order(element, place)]}


def _in_order(element: Element, place: str) -> list[Element]:
    children = list(element)
    numbers = [child.get("number", str(number)) for number, child in enumerate(children, 1)]
    by_number = dict(zip(numbers, children, strict=True))
    try:
        return [by_number[str(number)] for number in range(1, len(children) + 1)]
    except KeyError as error:
        raise ValueError(f"{place}: the value with the number {error.args[0]} is missing") from None


def _bulk_data(element: Element, place: str) -> dict[str, Any]:
    uri = element.get("uri") or element.get("uuid")
    if not uri:
        raise ValueError(f"{place}: BulkData has no URI")
    return {"BulkDataURI": uri}


def _read_name(element: Element, place: str) -> dict[str, str] | None:
    groups = {}
    for group in element:
        found = {_name(component): component.text or "" for component in group}
        if _name(group) not in _GROUPS or not found.keys() <= set(_COMPONENTS):
            raise ValueError(f"{place}: a person name has a part that is not part of the model")
        groups[_name(group)] = "^".join(found.get(name, "") for name in _COMPONENTS).rstrip("^")
    return {name: text for name, text in groups.items() if text} or None


_SINGLE: dict[str, Callable[[Element, str], dict[str, Any]]] = {
    "BulkData": _bulk_data,
    "InlineBinary": lambda element, place: {"InlineBinary": element.text or ""},
}
_READERS: dict[str, Callable[[Element, str], Any]] = {
    "Value": lambda element, place: element.text,
    "PersonName": _read_name,
    "Item": lambda element, place: _read_attributes(element, f"{place}/{element.get('number', '')}"),
}

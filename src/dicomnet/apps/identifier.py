"""The Identifier that the SCUs of a query or retrieval send: from a file and from keys on the command line."""

from __future__ import annotations

import re
import struct
from argparse import Namespace

from pydicom import dcmread
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ..cli.arguments import UsageError
from ..datasets.codec import encode_keys
from ..encoding.vrs import NUMBERS
from ..errors import UnusableObject

# SEQUENCE[0].KEYWORD=VALUE, where each name may be a tag instead; an attribute ends where its value begins.
_COMPONENT = re.compile(r"(?P<name>\w+|\(?[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}\)?)(?:\[(?P<item>\d{1,3})\])?")


def build_identifier(options: Namespace) -> Dataset:
    """The Identifier that the options of `KEYS` describe.

    Raises
    ------
    UsageError
        If the options describe none, or a key cannot be parsed or encoded.
    UnusableObject
        If the file is not a DICOM file.
    OSError
        If the file cannot be read.
    """
    if not options.keys and options.file is None:
        raise UsageError("-k or -f must say what to look for")
    identifier = Dataset()
    if options.file is not None:
        try:
            identifier = dcmread(options.file)
        except InvalidDicomError as error:
            raise UnusableObject(f"{options.file} is not a DICOM file") from error
    for key in options.keys:
        set_key(identifier, key)
    text = "".join(options.keys)
    if not text.isascii() and "SpecificCharacterSet" not in identifier:
        identifier.SpecificCharacterSet = "ISO_IR 192"
    try:
        # Before there is an association, which it would cost.
        encode_keys(identifier, True, True)
    except ValueError as error:
        raise UsageError(f"the keys cannot be encoded: {error}") from error
    return identifier


def set_key(dataset: Dataset, key: str) -> None:
    """Set what a key of the command line says; raises UsageError where it cannot be parsed."""
    path, _, value = key.partition("=")
    *sequences, last = path.split(".")
    for component in sequences:
        tag, item = _parse(component, key)
        dataset = _item(dataset, tag, item or 0, key)
    tag, item = _parse(last, key)
    vr = _vr(tag)
    if item is not None:
        _item(dataset, tag, item, key)
    elif vr == "SQ":
        if value:
            raise UsageError(f"{key!r}: a sequence has items instead of a value, as in {last}[0].Modality=CT")
        dataset[tag] = DataElement(tag, vr, [])
    else:
        dataset[tag] = _element(tag, vr, value, key)


def _parse(component: str, key: str) -> tuple[int, int | None]:
    match = _COMPONENT.fullmatch(component)
    if match is None:
        raise UsageError(f"{key!r}: {component!r} is not an attribute; write its keyword or (gggg,eeee)")
    name = match["name"]
    tag = int(name.strip("()").replace(",", ""), 16) if "," in name else tag_for_keyword(name)
    if tag is None:
        raise UsageError(f"{key!r}: {name!r} is not in the dictionary of DICOM's attributes")
    return tag, None if match["item"] is None else int(match["item"])


def _item(dataset: Dataset, tag: int, number: int, key: str) -> Dataset:
    """An item of a sequence; items up to it that are missing are added."""
    if _vr(tag) != "SQ":
        raise UsageError(f"{key!r}: {tag >> 16:04X},{tag & 0xFFFF:04X} is not a sequence")
    if tag not in dataset:
        dataset[tag] = DataElement(tag, "SQ", [])
    items = dataset[tag].value
    while len(items) <= number:
        items.append(Dataset())
    item: Dataset = items[number]
    return item


def _vr(tag: int) -> str:
    return dictionary_VR(tag) if dictionary_has_tag(tag) else "UN"


def _element(tag: int, vr: str, text: str, key: str) -> DataElement:
    form = NUMBERS.get(vr)
    if not text:
        return DataElement(tag, vr, None)
    try:
        if form is not None:
            numbers = [float(each) if vr in ("FL", "FD") else int(each) for each in text.split("\\")]
            struct.pack(f"{len(numbers)}{form}", *numbers)
            return DataElement(tag, vr, numbers if len(numbers) > 1 else numbers[0])
        if vr == "AT" or vr.startswith("O") or vr == "UN" or " " in vr:
            return DataElement(tag, vr[:2], bytes.fromhex(text))
        # Keys may be wildcards or ranges, which are not valid values of their VR.
        return DataElement(tag, vr, text, validation_mode=IGNORE)
    except (ValueError, OverflowError, struct.error):
        raise UsageError(f"{key!r}: the attribute cannot have this value (its VR is {vr})") from None

"""File-sets on media (PS3.10 section 8, PS3.3 annex F): the DICOMDIR, read and written.

pydicom's own File-sets write each object anew, and take a time that grows with the square of their number.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import dcmread
from pydicom.fileset import DIRECTORY_RECORDERS
from pydicom.uid import generate_uid

from ..drivers.files import read_header
from ..encoding.elements import EXPLICIT_LITTLE, ITEM
from ..encoding.file_header import MEDIA_STORAGE_DIRECTORY, encode_file_header
from ..encoding.scan import scan
from ..encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from ..errors import ServiceRefusal, UnusableObject
from ..values import field, frozen, mutable
from .codec import decode, decode_whole, encode_object
from .plain import correct_character_sets
from .pydicom_insides import directory_record_type

_IN_USE = 0xFFFF
# Of a file name, one of up to 8 components of up to 8 characters: a letter and a number.
_DIGITS, _LETTERS = 7, {"PATIENT": "P", "STUDY": "T", "SERIES": "S"}
# In an encoded record, where the offsets of the next one and of the first one below are.
_NEXT, _BELOW = 8, 30
_ITEM_HEADER = 8

# What stands in a record for what it must have and the object lacks: the first of these attributes that the object has,
# or else a value.
_DATES = ("SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate", "StudyDate")
_TIMES = ("SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime", "StudyTime")
_NO_DATE, _NO_TIME, _UNKNOWN = "19000101", "000000", "UNKNOWN"
_StandIns = dict[str, tuple[tuple[str, ...], str]]
_STAND_INS: dict[str, _StandIns] = {
    "PATIENT": {},
    "STUDY": {"StudyDate": (_DATES, _NO_DATE), "StudyTime": (_TIMES, _NO_TIME), "StudyID": ((), "0")},
    "SERIES": {"Modality": ((), "OT"), "SeriesNumber": ((), "0")},
    "IMAGE": {},
}
_OTHER_STAND_INS: _StandIns = {
    "ContentDate": (_DATES, _NO_DATE),
    "ContentTime": (_TIMES, _NO_TIME),
    "ContentLabel": ((), _UNKNOWN),
    "PresentationCreationDate": (_DATES, _NO_DATE),
    "PresentationCreationTime": (_TIMES, _NO_TIME),
    "CompletionFlag": ((), "PARTIAL"),
    "VerificationFlag": ((), "UNVERIFIED"),
    "DoseSummationType": ((), "PLAN"),
    "StructureSetLabel": ((), _UNKNOWN),
    "RTPlanLabel": ((), _UNKNOWN),
}


def referenced_files(file: BinaryIO) -> tuple[list[tuple[str, ...]], str]:
    """The files to which the records of a DICOMDIR that are in use refer.

    Parameters
    ----------
    file
        The DICOMDIR, from its beginning.

    Returns
    -------
    tuple
        The components of their names, each file once, as far as the DICOMDIR goes; and what is wrong with it, empty if
        nothing is.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    found: dict[tuple[str, ...], None] = {}
    try:
        header, start = read_header(file)
        syntax = transfer_syntax(header.transfer_syntax_uid)
        encoded = start[header.offset :] + file.read()
        damage = ""
        try:
            scan(encoded, header.transfer_syntax_uid, {})
        except ServiceRefusal as refusal:
            damage = refusal.comment
        data_set = decode(encoded, syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)
        for record in data_set.get("DirectoryRecordSequence") or ():
            names = record.get("ReferencedFileID") if record.get("RecordInUseFlag", _IN_USE) else None
            if names:
                found[_components([names] if isinstance(names, str) else map(str, names))] = None
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001
        # pydicom raises whatever the bytes lead to.
        damage = str(error) or type(error).__name__
    return list(found), damage


def _components(names: Iterable[str]) -> tuple[str, ...]:
    """The components of a File ID; some writers have a path in one of them, or one that begins where they are."""
    return tuple(each for name in names for each in name.split("/") if each not in ("", "."))


class Lister:
    """Finds the files of a File-set by the names that its DICOMDIR has for them.

    Media are read by systems that change names: they may be in lower case, or end in a version or a dot (ISO 9660). A
    name is looked up among those that are there, and so leads nowhere else.

    Parameters
    ----------
    folder
        Where the DICOMDIR is.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._listed = lru_cache(64)(_listed)

    def find(self, components: Sequence[str]) -> str | None:
        """The path of a file; None if it is not there."""
        path = self._folder
        for component in components:
            try:
                names = self._listed(path)
            except OSError:
                return None
            name = names.get(component) or names.get(_normal(component))
            if name is None:
                return None
            path = os.path.join(path, name)
        return path if os.path.isfile(path) else None


def _listed(folder: str) -> dict[str, str]:
    """The names in a folder, by themselves and by what a DICOMDIR may call them."""
    names = sorted(os.listdir(folder or os.curdir))
    return {_normal(name): name for name in names} | {name: name for name in names}


def _normal(name: str) -> str:
    return name.partition(";")[0].rstrip(". ").upper()


@mutable
class _Node:
    """A directory record with those below it."""

    component: str
    record: bytes
    below: list[_Node] = field(default_factory=list)
    # How many names were given below it, by their letter.
    given: dict[str, int] = field(default_factory=dict)

    def name(self, letter: str) -> str:
        """The next name below it that begins with a letter."""
        number = self.given[letter] = self.given.get(letter, 0) + 1
        return f"{letter}{number:0{_DIGITS}d}"


@frozen
class Placed:
    """An object that has its name in a File-set.

    Parameters
    ----------
    file_id
        The components of its name.
    """

    file_id: tuple[str, ...]
    _above: _Node
    _node: _Node


class Directory:
    """The DICOMDIR of a File-set that is being written. Its files are named here, and written by the caller."""

    def __init__(self) -> None:
        self._root = _Node("", b"")
        self._patients: dict[str, _Node] = {}
        # A study is below one patient, whatever its objects say (PS3.3 section F.5.2).
        self._studies: dict[str, tuple[_Node, _Node]] = {}
        self._series: dict[tuple[str, str], _Node] = {}

    def place(self, data_set: Dataset, transfer_syntax_uid: str) -> Placed:
        """Name an object.

        Parameters
        ----------
        data_set
            The object, of which no more is needed than comes before its pixel data. What a record must have, and it
            lacks, is added to it.
        transfer_syntax_uid
            The transfer syntax of its file.

        Raises
        ------
        UnusableObject
            If there can be no record of it.
        """
        try:
            kind, is_in_series = directory_record_type(data_set)
            path = self._above(data_set) if is_in_series else [self._root]
            above = path[-1]
            _stand_in(data_set, "InstanceNumber", (), str(len(above.below) + 1))
            letter = "I" if kind == "IMAGE" else "X"
            name = above.name(letter)
            file_id = (*(node.component for node in path if node.component), name)
            record = _record(kind, data_set, file_id, transfer_syntax_uid)
        except Exception as error:
            # pydicom raises whatever the values lead to.
            raise UnusableObject(f"it cannot be in a DICOMDIR: {error}") from error
        return Placed(file_id, above, _Node(name, record))

    def add(self, placed: Placed) -> None:
        """Take the record of an object, whose file has been written, into the DICOMDIR."""
        placed._above.below.append(placed._node)

    def encoded(self) -> Iterator[bytes]:
        """The whole file, in parts.

        Raises
        ------
        UnusableObject
            If there is more than a DICOMDIR can have.
        """
        header = encode_file_header(MEDIA_STORAGE_DIRECTORY, generate_uid(None), EXPLICIT_VR_LITTLE_ENDIAN)
        nodes = list(_with_content(self._root))
        begin = len(header) + len(_information(0, 0, 0))
        offsets: dict[int, int] = {}
        end = begin
        for node in nodes:
            offsets[id(node)] = end
            end += _ITEM_HEADER + len(node.record)
        if end >= 1 << 32:
            raise UnusableObject("these are more objects than a DICOMDIR can have")
        next_of = dict(_links(self._root, offsets))
        at_root = [offsets[id(node)] for node in self._root.below if id(node) in offsets]
        yield header
        yield _information(at_root[0] if at_root else 0, at_root[-1] if at_root else 0, end - begin)
        for node in nodes:
            record = bytearray(node.record)
            below = next((offsets[id(each)] for each in node.below if id(each) in offsets), 0)
            struct.pack_into("<L", record, _NEXT, next_of.get(id(node), 0))
            struct.pack_into("<L", record, _BELOW, below)
            yield EXPLICIT_LITTLE.header(ITEM, "", len(record)) + record

    def _above(self, data_set: Dataset) -> list[_Node]:
        """The records of the patient, the study and the series of an object."""
        study, series = str(data_set.StudyInstanceUID), str(data_set.SeriesInstanceUID)
        unknown = f"NOID_{hashlib.blake2b(study.encode(), digest_size=5).hexdigest().upper()}"
        _stand_in(data_set, "PatientID", (), unknown)
        if study not in self._studies:
            patient = str(data_set.PatientID)
            if patient not in self._patients:
                self._patients[patient] = _grown(self._root, "PATIENT", data_set)
            of_patient = self._patients[patient]
            self._studies[study] = of_patient, _grown(of_patient, "STUDY", data_set)
        of_patient, of_study = self._studies[study]
        if (study, series) not in self._series:
            self._series[study, series] = _grown(of_study, "SERIES", data_set)
        return [of_patient, of_study, self._series[study, series]]


def read_for_directory(file: BinaryIO) -> tuple[Dataset, str]:
    """An object as `Directory.place` needs it, and its transfer syntax.

    Parameters
    ----------
    file
        Its file, from its beginning.

    Raises
    ------
    UnusableObject
        If it cannot be decoded.
    OSError
        If the file cannot be read.
    """
    header, start = read_header(file)
    try:
        if transfer_syntax(header.transfer_syntax_uid).is_deflated:
            return decode_whole(start[header.offset :] + file.read(), header.transfer_syntax_uid), (
                header.transfer_syntax_uid
            )
        file.seek(0)
        data_set = dcmread(file, stop_before_pixels=True, force=True)
        correct_character_sets(data_set)
    except OSError:
        raise
    except Exception as error:
        # pydicom raises whatever the bytes lead to.
        raise UnusableObject(f"it cannot be decoded: {error}") from error
    return data_set, header.transfer_syntax_uid


def _grown(above: _Node, kind: str, data_set: Dataset) -> _Node:
    """A new record below another one."""
    node = _Node(above.name(_LETTERS[kind]), _record(kind, data_set))
    above.below.append(node)
    return node


def _record(
    kind: str, data_set: Dataset, file_id: Sequence[str] = (), transfer_syntax_uid: str = ""
) -> bytes:
    """An encoded directory record, whose offsets are to be filled in."""
    for keyword, (others, value) in _STAND_INS.get(kind, _OTHER_STAND_INS).items():
        _stand_in(data_set, keyword, others, value)
    record = DIRECTORY_RECORDERS[kind](data_set)
    record.OffsetOfTheNextDirectoryRecord = 0
    record.RecordInUseFlag = _IN_USE
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    if "SpecificCharacterSet" in data_set:
        record.SpecificCharacterSet = data_set.SpecificCharacterSet
    if file_id:
        record.ReferencedFileID = list(file_id)
        record.ReferencedSOPClassUIDInFile = data_set.SOPClassUID
        record.ReferencedSOPInstanceUIDInFile = data_set.SOPInstanceUID
        record.ReferencedTransferSyntaxUIDInFile = transfer_syntax_uid
    return encode_object(record, False, True)


def _stand_in(data_set: Dataset, keyword: str, others: Sequence[str], value: str) -> None:
    """Give an attribute a value if it has none, or none that can be read."""
    if _has_value(data_set, keyword):
        return
    found: Any = next((data_set[other].value for other in others if _has_value(data_set, other)), value)
    setattr(data_set, keyword, found)


def _has_value(data_set: Dataset, keyword: str) -> bool:
    try:
        return keyword in data_set and data_set[keyword].VM > 0
    except Exception:  # noqa: BLE001
        # pydicom raises whatever the bytes lead to.
        return False


def _with_content(node: _Node) -> Iterator[_Node]:
    """The records below one in their order, but for those of patients, studies and series without an object."""
    for each in node.below:
        below = list(_with_content(each))
        if below or each.component[0] not in _LETTERS.values():
            yield each
            yield from below


def _links(node: _Node, offsets: dict[int, int]) -> Iterator[tuple[int, int]]:
    """For each record the offset of the next one beside it, if there is one."""
    siblings = [each for each in node.below if id(each) in offsets]
    yield from ((id(one), offsets[id(other)]) for one, other in pairwise(siblings))
    for each in siblings:
        yield from _links(each, offsets)


def _information(first: int, last: int, length: int) -> bytes:
    """What comes before the records: File-set Identification (PS3.3 section F.3.2.1), and where they are."""
    header = EXPLICIT_LITTLE.header
    return b"".join(
        (
            header(0x00041130, "CS", 0),
            header(0x00041200, "UL", 4) + struct.pack("<L", first),
            header(0x00041202, "UL", 4) + struct.pack("<L", last),
            header(0x00041212, "US", 2) + struct.pack("<H", 0),
            header(0x00041220, "SQ", length),
        )
    )

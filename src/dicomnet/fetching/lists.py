"""Lists of what is to be retrieved: CSV, TSV and lines of JSON, read into rows of keys."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..datasets.levels import LEVEL_OF, Level
from ..encoding.identity import is_uid
from ..values import frozen

# What people call the attributes, as `_plain` spells it.
SPELLINGS = {
    "accession": "AccessionNumber",
    "accessionno": "AccessionNumber",
    "accessionnr": "AccessionNumber",
    "acc": "AccessionNumber",
    "accnr": "AccessionNumber",
    "mrn": "PatientID",
    "pid": "PatientID",
    "patid": "PatientID",
    "medicalrecordnumber": "PatientID",
    "patient": "PatientName",
    "name": "PatientName",
    "dob": "PatientBirthDate",
    "birthdate": "PatientBirthDate",
    "dateofbirth": "PatientBirthDate",
    "sex": "PatientSex",
    "studyuid": "StudyInstanceUID",
    "suid": "StudyInstanceUID",
    "seriesuid": "SeriesInstanceUID",
    "sopuid": "SOPInstanceUID",
    "instanceuid": "SOPInstanceUID",
    "date": "StudyDate",
    "examdate": "StudyDate",
    "time": "StudyTime",
    "description": "StudyDescription",
}
# The attributes that name one thing at their level; an empty cell above is of no harm beside them.
_NAMING = {
    "AccessionNumber": Level.STUDY,
    "StudyInstanceUID": Level.STUDY,
    "SeriesInstanceUID": Level.SERIES,
    "SOPInstanceUID": Level.IMAGE,
}
# The most characters of a value (PS3.5 Table 6.2-1), for what a list is likely to have.
_LONGEST = {"AE": 16, "CS": 16, "DA": 8, "IS": 12, "LO": 64, "PN": 324, "SH": 16, "TM": 16, "UI": 64}
_DELIMITERS = ";\t,|"
_ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ]00:00(?::00)?)?", re.ASCII)
_DATE = re.compile(r"\d{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", re.ASCII)
_DATES = re.compile(r"(?:\d{8})?-(?:\d{8})?", re.ASCII)
_ROUNDED = re.compile(r"\d(?:[.,]\d+)?E[+-]?\d+", re.ASCII | re.IGNORECASE)


class ListError(ValueError):
    """A list cannot be used at all, and why."""


@frozen
class Row:
    """A row of a list.

    Parameters
    ----------
    line
        Where it begins in the file, counted from 1; 0 where it comes from no file.
    keys
        Keyword to value, none of them empty.
    fault
        Why nothing can be asked for it, in words; empty where it can.
    """

    line: int
    keys: Mapping[str, str]
    fault: str = ""


@frozen
class Listing:
    """What a list says.

    Parameters
    ----------
    rows
        Its rows.
    understood
        The columns that have another name than a keyword, each with its keyword.
    is_json
        Whether it is lines of JSON.
    """

    rows: Sequence[Row]
    understood: Mapping[str, str]
    is_json: bool = False


def read_list(content: bytes, columns: Mapping[str, str], *, wildcards: bool = False) -> Listing:
    """Read a list.

    Parameters
    ----------
    content
        The content of the file: CSV, with commas, semicolons or tabs, or lines of JSON; in UTF-8, UTF-16 with a mark,
        or Windows' Latin-1.
    columns
        The keyword that a column stands for, by its heading; empty for a column that is passed over.
    wildcards
        Whether values may be wild cards, lists and ranges.

    Raises
    ------
    ListError
        If there is nothing in it, or it has a column that is not understood.
    """
    text = _decoded(content)
    if not text.strip():
        raise ListError("it is empty")
    is_json = text.lstrip().startswith("{")
    lines = _of_json(text) if is_json else _of_csv(text)
    headings: dict[str, str] = {}
    rows = []
    for line, cells, fault in lines:
        for heading in cells:
            if heading not in headings:
                headings[heading] = _keyword(heading, columns)
        rows.append(Row(line, {}, fault) if fault else _row(line, cells, headings, wildcards))
    if not rows:
        raise ListError("it has headings, and no row")
    understood = {name: keyword for name, keyword in headings.items() if keyword not in ("", name)}
    return Listing(rows, understood, is_json)


def row_of(line: int, given: Iterable[tuple[str, str | None]], *, wildcards: bool = False) -> Row:
    """A row of keywords and their values; what is wrong with it is its fault.

    Parameters
    ----------
    line
        Where it begins in its file.
    given
        Keywords with values, which are empty or None where the list has none.
    wildcards
        Whether values may be wild cards, lists and ranges.
    """
    keys: dict[str, str] = {}
    empty: list[str] = []
    faults: list[str] = []
    for keyword, raw in given:
        value = _normal(keyword, (raw or "").strip())
        if not value:
            empty.append(keyword)
            continue
        if keys.setdefault(keyword, value) != value:
            faults.append(f"two columns say different things of {keyword}")
        elif fault := _fault(keyword, value, wildcards):
            faults.append(f"{keyword}: {fault}")
    if not faults:
        faults = [_fault_of_row(keys, [each for each in empty if each not in keys])]
    return Row(line, keys, faults[0])


def _fault_of_row(keys: Mapping[str, str], empty: Sequence[str]) -> str:
    if not keys:
        return "all its cells are empty"
    named = [level for keyword, level in _NAMING.items() if keyword in keys]
    for keyword in empty:
        if not any(level >= LEVEL_OF[keyword] for level in named):
            return f"{keyword} is empty, and without it more would be retrieved than the list names"
    if all(LEVEL_OF[keyword] > Level.STUDY for keyword in keys):
        return "it has no key of a study or patient; a column StudyInstanceUID says which study it is"
    if "SOPInstanceUID" in keys and not {"StudyInstanceUID", "SeriesInstanceUID"} <= keys.keys():
        return "an object is named by StudyInstanceUID, SeriesInstanceUID and SOPInstanceUID together"
    return ""


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text
    raise ListError("it is not text: save it as CSV, in UTF-8")


def _of_json(text: str) -> Iterator[tuple[int, Mapping[str, str | None], str]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line, object_pairs_hook=_unique)
        except ValueError as error:
            yield number, {}, f"it is not an object in JSON: {getattr(error, 'msg', error)}"
            continue
        if not isinstance(told, dict):
            yield number, {}, "it is not an object in JSON"
            continue
        wrong = [
            name
            for name, value in told.items()
            if not (value is None or (isinstance(value, str | int) and not isinstance(value, bool)))
        ]
        if wrong:
            yield number, {}, f"{wrong[0]} is neither text nor a whole number"
            continue
        yield number, {name: None if value is None else str(value) for name, value in told.items()}, ""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a name is there twice")
    return told


def _of_csv(text: str) -> Iterator[tuple[int, Mapping[str, str | None], str]]:
    first, _, rest = text.partition("\n")
    # Excel reads and writes this line.
    separator = re.fullmatch(r"sep=(.)\r?", first)
    skipped = 1 if separator else 0
    text = rest if separator else text
    heading_line = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = separator[1] if separator else max(_DELIMITERS, key=heading_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    headings: list[str] | None = None
    begin = 1 + skipped
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if headings is None:
                raise ListError(f"its headings cannot be read: {error}") from error
            if "end of data" in str(error):
                raise ListError(f"the quotation mark in line {begin} is never closed") from error
            yield begin, {}, f"it cannot be read: {error}"
            begin = reader.line_num + 1 + skipped
            continue
        line, begin = begin, reader.line_num + 1 + skipped
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if headings is None:
            headings = _headings(cells)
        elif len(cells) < len(headings) or any(cells[len(headings) :]):
            yield line, {}, f"it has {len(cells)} cells, and there are {len(headings)} columns"
        else:
            yield line, dict(zip(headings, cells, strict=False)), ""


def _headings(cells: Sequence[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    if "" in cells:
        raise ListError(f"column {cells.index('') + 1} has no heading")
    if len(set(cells)) != len(cells):
        raise ListError("two columns have the same heading")
    return list(cells)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def _keyword(heading: str, columns: Mapping[str, str]) -> str:
    """The keyword that a heading stands for; empty where it is passed over."""
    from pydicom.datadict import dictionary_description, keyword_for_tag, tag_for_keyword

    if heading in columns:
        return columns[heading] and usable(columns[heading], heading)
    known = {keyword.lower(): keyword for keyword in LEVEL_OF}
    plain = _plain(heading)
    if plain in known:
        return usable(known[plain], heading)
    if plain in SPELLINGS:
        return SPELLINGS[plain]
    for keyword in known.values():
        tag = tag_for_keyword(keyword)
        if tag is not None and _plain(dictionary_description(tag)) == plain:
            return usable(keyword, heading)
    digits = re.sub(r"[(), ]", "", heading)
    if re.fullmatch(r"[0-9A-Fa-f]{8}", digits) and (keyword := keyword_for_tag(int(digits, 16))):
        return usable(keyword, heading)
    if tag_for_keyword(heading) is not None:
        return usable(heading, heading)
    raise ListError(
        f"nobody knows what column {heading!r} is: it is no keyword of DICOM, such as AccessionNumber;"
        f" --column '{heading}=KEYWORD' says it, and --column '{heading}=' passes over it"
    )


def usable(keyword: str, heading: str) -> str:
    """The keyword, if objects can be told apart by it."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ListError(f"{keyword!r} is not a keyword of DICOM")
    level = LEVEL_OF.get(keyword)
    is_chosen_by = level is not None and (level < Level.IMAGE or keyword == "SOPInstanceUID")
    if not is_chosen_by or dictionary_VR(tag) == "SQ" or keyword.startswith("NumberOf"):
        raise ListError(
            f"column {heading!r}: patients, studies and series cannot be chosen by {keyword};"
            f" --column '{heading}=' passes over it"
        )
    return keyword


def _row(line: int, cells: Mapping[str, str | None], headings: Mapping[str, str], wildcards: bool) -> Row:
    given = [(headings[name], value) for name, value in cells.items() if headings[name]]
    return row_of(line, given, wildcards=wildcards)


def _normal(keyword: str, value: str) -> str:
    """A value as DICOM writes it: dates of a spreadsheet in ISO's form."""
    if keyword.endswith("Date") and (found := _ISO_DATE.fullmatch(value)):
        return "".join(found.groups())
    return value


def _fault(keyword: str, value: str, wildcards: bool) -> str:
    """What is wrong with a value, in words; empty where nothing is."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    vr = dictionary_VR(tag_for_keyword(keyword) or 0)
    if not value.isprintable():
        return "it has a control character"
    if any(each in value for each in "*?\\"):
        if not wildcards:
            return (
                f"{value!r} has a wild card or a backslash; --wildcards lets a row stand for all that match"
            )
        if vr == "UI" and not all(is_uid(each) for each in value.split("\\")):
            return f"{value!r} is not a UID"
        return ""
    if vr == "UI" and not is_uid(value):
        return f"{value!r} is not a UID"
    if vr == "DA" and not _DATE.fullmatch(value):
        if wildcards and len(value) > 1 and _DATES.fullmatch(value):
            return ""
        return f"{value!r} is not a date; write 20260131 or 2026-01-31"
    if vr == "TM" and wildcards and "-" in value:
        return ""
    if vr == "IS" and not re.fullmatch(r"[+-]?\d+", value, re.ASCII):
        return f"{value!r} is not a whole number"
    if vr in ("SH", "LO") and _ROUNDED.fullmatch(value):
        return f"{value!r} was rounded by a spreadsheet; format the column as text and save it again"
    longest = _LONGEST.get(vr)
    if longest is not None and len(value) > longest:
        return f"{value[:20]!r}… has {len(value)} characters, and may have {longest}"
    return ""

"""Names of files that are made of an object's attributes, safe on every file system."""

from __future__ import annotations

import hashlib
import os.path
import string
import unicodedata
from collections.abc import Mapping, Sequence

from ..values import frozen

DEFAULT_LAYOUT = "{PatientID}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"
# Bytes of a component in UTF-8 that most file systems take; a suffix for those of the same name has room below it.
LONGEST = 255
_ROOM = 12
_UNSAFE = frozenset('<>:"/\\|?*%')
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in "0123456789¹²³"]
)
# What stands for an attribute that an object has not.
NOTHING = "_"


@frozen
class Layout:
    """How files are named: components, each of parts that are literal text with the keyword behind it, or None.

    Parameters
    ----------
    text
        As it was given.
    components
        The folders and the name of the file.
    """

    text: str
    components: Sequence[Sequence[tuple[str, str | None]]]

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Read a layout such as ``{PatientID}/{StudyDate}/{SOPInstanceUID}.dcm``.

        Raises
        ------
        ValueError
            If it leads out of the folder, names an attribute that does not exist, or is none.
        """
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ValueError(f"{text!r}: {error}") from error
        components: list[list[tuple[str, str | None]]] = [[]]
        for literal, keyword, form, conversion in parsed:
            first, *others = literal.split("/")
            components[-1].append((first, None))
            components += [[(each, None)] for each in others]
            if keyword is None:
                continue
            if form or conversion:
                raise ValueError(f"{text!r}: a keyword stands alone in its braces")
            _check_keyword(keyword)
            components[-1].append(("", keyword))
        for component in components:
            literal = "".join(each for each, _ in component)
            if not any(keyword for _, keyword in component) and literal in ("", ".", ".."):
                raise ValueError(f"{text!r} has a component that is empty, '.' or '..'")
            if component[0][0].startswith("."):
                raise ValueError(f"{text!r} has a component that begins with a dot")
            if any(each in _UNSAFE or not each.isprintable() for each in literal):
                raise ValueError(f"{text!r} has a character that names of files cannot have everywhere")
        if not any(keyword for component in components for _, keyword in component):
            raise ValueError(f"{text!r} has no keyword in braces, such as {{SOPInstanceUID}}")
        return cls(text, components)

    @property
    def keywords(self) -> list[str]:
        """The keywords of the attributes that it takes."""
        return [keyword for component in self.components for _, keyword in component if keyword]

    def name(self, values: Mapping[str, str]) -> tuple[str, ...]:
        """The components of the name of an object's file.

        Parameters
        ----------
        values
            Its attributes as text, by keyword.
        """
        names = []
        for component in self.components:
            text = "".join(
                literal if keyword is None else escaped(values.get(keyword, "").strip()) or NOTHING
                for literal, keyword in component
            )
            names.append(safe(text, has_extension=component is self.components[-1]))
        return tuple(names)


def _check_keyword(keyword: str) -> None:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} in the layout is not a keyword of DICOM")
    if tag >> 16 < 8 or dictionary_VR(tag) in (
        "SQ",
        "UN",
        "OB",
        "OW",
        "OF",
        "OD",
        "OL",
        "OV",
        "OB or OW",
        "UT",
        "LT",
        "ST",
    ):
        raise ValueError(f"{keyword!r} in the layout is nothing to name a file after")


def escaped(value: str) -> str:
    """A value with what is unsafe in names written as the percent sign and its bytes in UTF-8, as in URLs.

    No two values have the same.
    """
    return "".join(
        _escape(each) if each in _UNSAFE or not each.isprintable() else each
        for each in unicodedata.normalize("NFC", value)
    )


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def safe(text: str, *, has_extension: bool = False) -> str:
    """A component of a name, of text that is escaped: none that means something else, and none that is too long.

    Parameters
    ----------
    has_extension
        Whether it is that of a file, whose extension is kept where it is cut.
    """
    if text[:1] in (".", " ", "~"):
        text = _escape(text[0]) + text[1:]
    if text.partition(".")[0].rstrip().lower() in _RESERVED:
        text = _escape(text[0]) + text[1:]
    if text[-1:] in (".", " "):
        text = text[:-1] + _escape(text[-1])
    encoded = text.encode()
    if len(encoded) <= LONGEST - _ROOM:
        return text
    # The digest tells apart what is the same up to here.
    extension = os.path.splitext(text)[1] if has_extension else ""
    extension = extension if len(extension.encode()) <= 16 else ""
    ending = f"~{hashlib.sha256(encoded).hexdigest()[:16]}{extension}"
    return encoded[: LONGEST - _ROOM - len(ending.encode())].decode(errors="ignore") + ending


def numbered(name: Sequence[str], number: int) -> tuple[str, ...]:
    """The name of a file where the first ``number - 1`` of it are taken."""
    if number == 1:
        return tuple(name)
    stem, extension = os.path.splitext(name[-1])
    if len(extension.encode()) > 16:
        stem, extension = name[-1], ""
    return (*name[:-1], f"{stem}-{number}{extension}")


def folded(name: Sequence[str]) -> str:
    """What two names have in common that are the same on a file system without upper and lower case."""
    return "/".join(
        unicodedata.normalize("NFC", unicodedata.normalize("NFC", each).casefold()) for each in name
    )

"""Where the elements lie that a file begins with. In the files of a series, only some values of them differ."""

from __future__ import annotations

from struct import Struct

from .file_header import MAGIC, PREFIX_LENGTH, FileHeader, Place, decode_file_header
from .identity import read_identity, uid_text

_META_SOP_CLASS, _META_TRANSFER_SYNTAX = 0x00020002, 0x00020010
_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
# Their values are the same throughout a series, and so are part of its layout.
_OF_A_SERIES = frozenset((_META_SOP_CLASS, _META_TRANSFER_SYNTAX, _SOP_CLASS))
# The Group Length of the file meta information, with its header.
_GROUP_LENGTH = slice(132, 144)


class _Layout:
    """The first bytes of a file, except for the values that do not tell what it is.

    Parameters
    ----------
    prefix
        The first bytes.
    header
        What they were decoded to.
    places
        The elements that were looked at for that; behind the last one of them nothing was.
    """

    __slots__ = ("_fixed", "_header", "_instance", "_length", "_unpack_from")

    def __init__(self, prefix: bytes, header: FileHeader, places: list[Place]) -> None:
        code = ""
        begin = 128
        end = begin + len(MAGIC)
        last = 0
        for tag, at, value, behind in places:
            if at > end:
                code += f"{begin - last}x{end - begin}s"
                begin, last = at, end
            end = behind if tag in _OF_A_SERIES else value
            if tag == _SOP_INSTANCE:
                self._instance = slice(value, behind)
        # The element behind those that tell is known by its tag alone.
        end = places[-1][1] + 4
        unpack = Struct(f"{code}{begin - last}x{end - begin}s")
        self._unpack_from = unpack.unpack_from
        self._fixed = unpack.unpack_from(prefix)
        # As many bytes as the complete way wants to see, of the first element and of the last one.
        self._length = max(header.offset + 12, end + 4)
        self._header = header

    def decode(self, prefix: bytes) -> FileHeader | None:
        """What the first bytes of a file say, or None where it has another layout."""
        if len(prefix) < self._length or self._unpack_from(prefix) != self._fixed:
            return None
        instance = uid_text(prefix[self._instance])
        known = self._header
        if not instance:
            return None
        return FileHeader(known.sop_class_uid, instance, known.transfer_syntax_uid, known.offset)


# By the group length of the file meta information, which differs where UIDs have other lengths. A process may see any
# number of files, so neither this nor what is kept of one length grows without end.
_layouts: dict[bytes, tuple[_Layout, ...]] = {}
_LENGTHS = 64
_LAYOUTS_A_LENGTH = 8


def recognize(prefix: bytes) -> FileHeader | None:
    """What the first bytes of a file say, where a file of the same layout was learned; None otherwise.

    It is what `decode_file_header` and `read_identity` find.
    """
    for layout in _layouts.get(prefix[_GROUP_LENGTH], ()):
        header = layout.decode(prefix)
        if header is not None:
            return header
    return None


def learn(prefix: bytes, header: FileHeader, *, is_implicit: bool, is_little_endian: bool) -> None:
    """Learn the layout of a file, unless it is an unusual one.

    Parameters
    ----------
    prefix
        Its first bytes.
    header
        What the file meta information and the first elements of the data set say together.
    is_implicit, is_little_endian
        How its data set is encoded, which is not deflated.
    """
    # Neither without the mark, nor where more than the first bytes had to be read.
    if prefix[128:132] != MAGIC or len(prefix) < header.offset + 12:
        return
    places: list[Place] = []
    if decode_file_header(prefix, places).transfer_syntax_uid != header.transfer_syntax_uid:
        return
    inside: list[Place] = []
    data = memoryview(prefix)[header.offset :]
    found = read_identity(data, is_implicit=is_implicit, is_little_endian=is_little_endian, places=inside)
    # It has to be the end of the elements that tell what ended the search, not the end of what was read.
    if found[1] != header.sop_instance_uid or inside[-1][0] <= _SOP_INSTANCE:
        return
    offset = header.offset
    if offset + inside[-1][1] > PREFIX_LENGTH:
        return
    places += ((tag, offset + at, offset + value, offset + end) for tag, at, value, end in inside)
    if len(_layouts) >= _LENGTHS:
        _layouts.clear()
    of_length = prefix[_GROUP_LENGTH]
    earlier = _layouts.get(of_length, ())[: _LAYOUTS_A_LENGTH - 1]
    _layouts[of_length] = (_Layout(prefix, header, places), *earlier)

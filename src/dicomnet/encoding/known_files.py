"""What was learned of files: those of a series begin alike, but for a few values."""

from __future__ import annotations

import struct
from itertools import chain

from .elements import Encoding, elements
from .file_header import (
    BEGIN,
    MAGIC,
    PREFIX_LENGTH,
    SOP_CLASS,
    TRANSFER_SYNTAX,
    FileHeader,
    decode_file_header,
    meta_encoding,
)
from .identity import SOP_CLASS_UID, SOP_INSTANCE_UID, read_identity, uid_text
from .known_headers import Pick, Span, Stretch

_MARK = BEGIN - len(MAGIC)
# Their values are the same throughout a series, and so are part of what its files have in common.
_OF_A_SERIES = frozenset((SOP_CLASS, TRANSFER_SYNTAX, SOP_CLASS_UID))
# The Group Length of the file meta information, with its header.
_GROUP_LENGTH = slice(BEGIN, BEGIN + 12)
# A process may see any number of files, so neither the table nor what is kept of one group length grows without end.
GROUP_LENGTHS = 64
BEGINNINGS = 8


class KnownFiles:
    """The beginnings of files that were read, as far as the files of a series have them in common.

    It gives what `decode_file_header` and `read_identity` find, in a tenth of their time: that is a seventh of what it
    takes to send a small file. May be shared between threads.
    """

    def __init__(self) -> None:
        # By the group length of the file meta information, which differs where UIDs have other lengths.
        self._known: dict[bytes, tuple[tuple[Stretch, int, FileHeader], ...]] = {}

    def recognize(self, prefix: bytes) -> FileHeader | None:
        """What the first bytes of a file say, where a file that begins alike was learned; None otherwise."""
        for stretch, needed, header in self._known.get(prefix[_GROUP_LENGTH], ()):
            # What comes before the mark is anybody's.
            if len(prefix) < needed or stretch.read(prefix, _MARK) != stretch.between:
                continue
            assert stretch.pick is not None
            instance = uid_text(stretch.pick(prefix, _MARK)[0])
            if instance:
                return FileHeader(header.sop_class_uid, instance, header.transfer_syntax_uid, header.offset)
        return None

    def learn(self, prefix: bytes, header: FileHeader, encoding: Encoding) -> None:
        """Learn how a file begins, unless it is an unusual one.

        Parameters
        ----------
        prefix
            Its first bytes.
        header
            What the file meta information and the first elements of the data set say together.
        encoding
            How its data set is encoded, which is not deflated.
        """
        # Neither without the mark, nor where more than the first bytes had to be read.
        if prefix[_MARK:BEGIN] != MAGIC or len(prefix) < header.offset + 12:
            return
        if decode_file_header(prefix).transfer_syntax_uid != header.transfer_syntax_uid:
            return
        if read_identity(memoryview(prefix)[header.offset :], encoding)[1] != header.sop_instance_uid:
            return
        try:
            stretch = _beginning(prefix, header.offset, encoding)
        except struct.error:
            return
        if stretch is None:
            return
        # As many bytes as the complete way wants to see, of the first element of the data set and of the last one.
        needed = max(header.offset + 12, _MARK + stretch.length + 4)
        if len(self._known) >= GROUP_LENGTHS:
            self._known.clear()
        group_length = prefix[_GROUP_LENGTH]
        earlier = self._known.get(group_length, ())[: BEGINNINGS - 1]
        self._known[group_length] = ((stretch, needed, header), *earlier)


def _beginning(prefix: bytes, offset: int, encoding: Encoding) -> Stretch | None:
    """The beginning of a file from its mark up to the first tag behind SOP Instance UID; None where there is none.

    Raises `struct.error` where the first bytes end in a header.
    """
    spans: list[Span] = []
    picks: list[Pick] = []
    meta = elements(memoryview(prefix)[:offset], meta_encoding(prefix), BEGIN)
    for tag, _, at, start, end in chain(meta, elements(prefix, encoding, offset)):
        if at >= PREFIX_LENGTH:
            break
        if tag > SOP_INSTANCE_UID:
            # It ends the search, for which its tag is enough.
            return Stretch(prefix, _MARK, at + 4 - _MARK, spans, picks[-1:], len(spans), False)
        if tag not in _OF_A_SERIES:
            spans.append((start - _MARK, end - _MARK, False))
        if tag == SOP_INSTANCE_UID:
            picks.append((tag, "UI", start - _MARK, end - _MARK))
    return None

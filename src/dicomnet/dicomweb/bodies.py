"""The bodies of requests that store objects: multipart/related, read from the files while they are sent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence

from ..dimse.datasets import AnyFile, FileRange, Source
from ..drivers.reading import open_stream, stamp_of, stamp_of_stream
from ..encoding.file_header import FileHeader, encode_file_header
from ..errors import UnusableObject

# How much is read at once, in bytes.
_CHUNK = 1 << 18
_PART_TYPE = b"Content-Type: application/dicom\r\n\r\n"


class Objects:
    """Objects as one body (PS3.18 section 10.5.1), each with a header of ours, as a received one gets.

    Parameters
    ----------
    objects
        What each is, and its data set.

    Attributes
    ----------
    unusable
        The number of the object that could not be read while it was sent, and why; None as long as all could.
    """

    def __init__(self, objects: Sequence[tuple[FileHeader, Source]]) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'
        self.unusable: tuple[int, UnusableObject] | None = None
        self._objects = objects
        self._between = f"--{boundary}\r\n".encode() + _PART_TYPE
        self._end = f"--{boundary}--\r\n".encode()
        heads = sum(len(self._between) + len(_encoded(header)) + 2 for header, _ in objects)
        self.length = heads + sum(length_of(data) for _, data in objects) + len(self._end)

    def chunks(self) -> Iterator[bytes]:
        """All of it.

        Raises
        ------
        UnusableObject
            If a file cannot be read, or is another one by now; `unusable` says which.
        """
        self.unusable = None
        for number, (header, data) in enumerate(self._objects):
            head = self._between + _encoded(header)
            try:
                if isinstance(data, FileRange):
                    yield from _with_head(head, data)
                else:
                    yield b"".join((head, data, b"\r\n"))
            except OSError as error:
                self.unusable = number, UnusableObject(f"its file cannot be read: {error.strerror or error}")
                raise self.unusable[1] from error
            except UnusableObject as error:
                self.unusable = number, error
                raise
        yield self._end


def length_of(data: Source) -> int:
    """How many bytes of a body a data set is."""
    return data.length + data.padding if isinstance(data, FileRange) else len(data)


def _encoded(header: FileHeader) -> bytes:
    return encode_file_header(header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid)


def _with_head(head: bytes, data: FileRange) -> Iterator[bytes]:
    """A part: its head, its content and the line end behind it, in few pieces."""
    with open_stream(data.file) as stream:
        if data.stamp is not None:
            now = (
                stamp_of(os.fstat(stream.fileno()))
                if _is_path(data.file)
                else stamp_of_stream(stream, data.offset)
            )
            if now != data.stamp:
                raise UnusableObject("its file has changed since it was looked at")
        stream.seek(data.offset)
        left = data.length
        while left > _CHUNK:
            chunk = stream.read(_CHUNK)
            if len(chunk) < _CHUNK:
                raise UnusableObject("its file has become shorter while it was read")
            yield head + chunk if head else chunk
            head = b""
            left -= len(chunk)
        chunk = stream.read(left)
        if len(chunk) < left:
            raise UnusableObject("its file has become shorter while it was read")
        yield b"".join((head, chunk, bytes(data.padding), b"\r\n"))


def _is_path(file: AnyFile) -> bool:
    return isinstance(file, str | os.PathLike)

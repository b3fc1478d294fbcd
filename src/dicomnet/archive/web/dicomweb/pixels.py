"""The pixels of a stored object: its frames as they are stored, or decompressed."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from typing import BinaryIO, Final

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from ....datasets.frames import FrameTable, frame_table
from ....datasets.headers import read_header
from ....datasets.transcode import is_decodable, transcode_dataset, transcode_file
from ....encoding.transfer_syntaxes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    Transcoding,
    transfer_syntax,
)
from ....errors import UnusableObject
from ....values import frozen
from ...catalogue.query import StoredInstance
from ...services.retrieval import known_object
from ...storage.store import ObjectName, Storage
from ..http.media_types import kinds_of
from ..http.multipart import Part
from ..http.negotiation import ANY_TRANSFER_SYNTAX, Alternative, Offer
from ..http.problems import Problem
from .opened import opened

OCTETS: Final = "application/octet-stream"
# How many objects it is remembered of where their frames are, since viewers ask for one frame after the other.
_REMEMBERED = 128
_IMAGE_PIXEL_GROUP = 0x0028
_NAMES = ("SOPClassUID", "SOPInstanceUID")


@frozen
class Form:
    """A form in which frames are given out.

    Parameters
    ----------
    offer
        Their media type, and whether there are parts.
    transfer_syntax_uid
        Of the frames.
    """

    offer: Offer
    transfer_syntax_uid: str

    @property
    def content_type(self) -> str:
        """The media type of a frame, with its transfer syntax."""
        return f"{self.offer.kind}; transfer-syntax={self.transfer_syntax_uid}"


def offers_of(own: str, *, is_one: bool) -> list[Offer]:
    """The forms that frames may have.

    Parameters
    ----------
    own
        UID of the transfer syntax of the object.
    is_one
        Whether only one frame is asked for, which needs no parts.
    """
    kinds = [*kinds_of(own), OCTETS]
    ways = (True, False) if is_one else (True,)
    return [Offer(kind, is_multipart) for is_multipart in ways for kind in kinds]


def form_of(own: str, options: Sequence[Alternative], transcoding: Transcoding) -> Form:
    """The best form of what is accepted.

    Parameters
    ----------
    own
        UID of the transfer syntax of the object.
    options
        What is offered and accepted, the best first. Where the client does not say which transfer syntax it wants,
        octets are uncompressed.
    transcoding
        Whether objects may be decompressed.

    Raises
    ------
    Problem
        With status 406 if there is none.
    """
    is_native = not transfer_syntax(own).is_encapsulated
    may_decompress = is_native or (transcoding is not Transcoding.NEVER and is_decodable(own))
    for option in options:
        wanted = option.transfer_syntax
        if wanted == IMPLICIT_VR_LITTLE_ENDIAN or (not wanted and option.offer.kind == OCTETS):
            # Frames are the same in both.
            wanted = EXPLICIT_VR_LITTLE_ENDIAN
        if is_native and wanted in (ANY_TRANSFER_SYNTAX, own):
            wanted = EXPLICIT_VR_LITTLE_ENDIAN
        if wanted == EXPLICIT_VR_LITTLE_ENDIAN and option.offer.kind == OCTETS and may_decompress:
            return Form(option.offer, wanted)
        if not is_native and wanted in (ANY_TRANSFER_SYNTAX, own, ""):
            return Form(option.offer, own)
        if not option.transfer_syntax and not may_decompress:
            # It is only there in compressed form (section 8.7.3.3).
            return Form(option.offer, own)
    name = transfer_syntax(own).name
    raise Problem(
        406,
        f"frames stored in {name} cannot be given in the transfer syntax in Accept; * takes them as they are",
    )


class NoPixelData(Problem):
    """An object that has no pixel data is asked for it."""

    def __init__(self) -> None:
        super().__init__(404, "this instance has no pixel data")


class _Known:
    """Where the frames of objects are, of those that were asked for lately."""

    def __init__(self) -> None:
        self._tables: OrderedDict[tuple[ObjectName, str, float], FrameTable | None] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, storage: Storage, found: StoredInstance, written_at: float) -> FrameTable | None:
        """The table of an object, as of `frame_table`, in its file that was written then."""
        key = None if found.digest is None else (found.name, found.digest, written_at)
        with self._lock:
            if key is not None and key in self._tables:
                self._tables.move_to_end(key)
                return self._tables[key]
        with opened(storage, found) as (stream, syntax):
            table = frame_table(stream, syntax)
        if key is not None:
            with self._lock:
                self._tables[key] = table
                while len(self._tables) > _REMEMBERED:
                    self._tables.popitem(last=False)
        return table


_known = _Known()


class Pixels:
    """The pixel data of an object.

    Parameters
    ----------
    storage, found
        The object.

    Raises
    ------
    NoPixelData
        If it has none.
    Problem
        With status 404 if its file is not there any more; 406 if its frames cannot be told apart.
    """

    def __init__(self, storage: Storage, found: StoredInstance) -> None:
        self._storage = storage
        self.found = found
        syntax = transfer_syntax(found.transfer_syntax_uid)
        # Where words have to be swapped, or all of it inflated, before anything is found.
        self._converted: bytes | memoryview | None = None
        try:
            if syntax.is_deflated or not syntax.is_little_endian:
                stored, _ = known_object(storage, found).read(whole=False)
                self._converted = transcode_file(stored, EXPLICIT_VR_LITTLE_ENDIAN)
                table = frame_table(BytesIO(self._converted), EXPLICIT_VR_LITTLE_ENDIAN)
            else:
                # A file is replaced before its row is, so that its digest does not tell which one it is.
                self._written_at = storage.written_at(found.name)
                table = _known.find(storage, found, self._written_at)
        except FileNotFoundError:
            raise Problem(404, "the file of this instance is not there any more") from None
        except UnusableObject as error:
            raise Problem(406, f"the frames of this instance cannot be given out: {error}") from error
        if table is None:
            raise NoPixelData
        self.table = table

    def check(self, numbers: Sequence[int]) -> None:
        """Raise `Problem`, with status 404, for a frame that there is not."""
        beyond = [number for number in numbers if number > self.table.count]
        if beyond:
            raise Problem(404, f"there is no frame {beyond[0]}; this instance has {self.table.count}")

    def parts(self, numbers: Sequence[int], form: Form, location: Callable[[int], str]) -> list[Part]:
        """Frames, each as a part.

        Parameters
        ----------
        numbers
            Which, counted from 1.
        form
            What they are given out in.
        location
            From the number of a frame to its address.
        """
        is_stored = form.transfer_syntax_uid == self.table.transfer_syntax_uid or self.table.spans is None
        return [
            Part(
                f"frame {number} of {self.found.name.instance}",
                (("Content-Type", form.content_type), ("Content-Location", location(number))),
                self.table.length(number) if is_stored else None,
                partial(self._stored if is_stored else self._decompressed, number),
            )
            for number in numbers
        ]

    def all_parts(self, form: Form, location: Callable[[int], str]) -> list[Part]:
        """All frames; parameters as of `parts`."""
        return self.parts(range(1, self.table.count + 1), form, location)

    def _stored(self, number: int) -> Iterator[bytes]:
        if self._converted is not None:
            yield from self.table.chunks(BytesIO(self._converted), number)
            return
        with self._storage.open(self.found.name) as file:
            self._check_file(file)
            yield from self.table.chunks(file, number)

    def _check_file(self, file: BinaryIO) -> None:
        """Raise UnusableObject where an open file is not the one in which the frames are where the table says."""
        length = file.seek(0, os.SEEK_END)
        if self.found.size not in (None, length):
            raise UnusableObject(f"its file has {length} bytes instead of {self.found.size}")
        self._check_time()

    def _check_time(self) -> None:
        if self._storage.written_at(self.found.name) != self._written_at:
            raise UnusableObject("its file was replaced meanwhile")

    def _decompressed(self, number: int) -> Iterator[bytes]:
        """A frame by itself, decompressed by the code that decompresses objects."""
        own = self.table.transfer_syntax_uid
        alone = Dataset()
        with opened(self._storage, self.found) as (stream, _):
            whole, _ = read_header(stream, own)
            for element in whole.group_dataset(_IMAGE_PIXEL_GROUP):
                alone.add(element)
            self._check_time()
            content = b"".join(self.table.chunks(stream, number))
        for keyword in _NAMES:
            setattr(alone, keyword, whole.get(keyword))
        alone.NumberOfFrames = 1
        alone.add_new(0x7FE00010, "OB", encapsulate([content], has_bot=False))
        alone["PixelData"].is_undefined_length = True
        native = BytesIO(transcode_dataset(alone, own, EXPLICIT_VR_LITTLE_ENDIAN))
        table = frame_table(native, EXPLICIT_VR_LITTLE_ENDIAN)
        assert table is not None
        yield from table.chunks(native, 1)

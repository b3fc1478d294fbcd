"""Objects from one transfer syntax to another: native ones element by element, compressed ones with pydicom's codecs.

Imported only where an object has to be converted. Nothing is held in memory that is long, but decoded pixels.
"""

from __future__ import annotations

import mmap
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pydicom.datadict import keyword_for_tag
from pydicom.filebase import DicomFileLike
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from ..dimse.datasets import FileRange, Source, name_of
from ..drivers.files import StoredObject
from ..drivers.reading import open_stream
from ..encoding.elements import (
    HEAD_SIZE,
    IMPLICIT_LITTLE,
    IN_HEAD,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    Encoding,
    encoding_of,
    looks_like_vr,
)
from ..encoding.transfer_syntaxes import EXPLICIT_VR_BIG_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from ..encoding.vrs import LONG_LENGTH, VRS
from ..errors import UnusableObject
from ..values import mutable
from .codec import INFLATE_LIMIT, create_file_meta, encode_object
from .codestreams import bits_of, in_fragments, without_adobe
from .decoding import DECODERS
from .frames import spans_of_frames
from .pydicom_insides import why_not_written
from .structure import conflict, contradiction, is_negative, known_representations, representation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from .apart import Answer, Result

# What is longer than this, in bytes, is kept in a temporary file.
IN_MEMORY = 8 << 20
_CHUNK = 1 << 20
_DEPTH_LIMIT = 100
# Characters of what decoders say of an image.
_REASON_LIMIT = 400

_PIXEL_REPRESENTATION = 0x00280103
_PIXEL_DATA = 0x7FE00010
_END_OF_FRAGMENTS = b"\xfe\xff\xdd\xe0" + bytes(4)
# The longest value that is even and has a length of 16 bits.
_SHORT_LIMIT = 0xFFFE
# By their size, types of numbers that can be swapped.
_CODES = {array(code).itemsize: code for code in "HILQ"}

# Where Lossy Image Compression (0028,2110) is missing, only these tell that nothing was lost.
_LOSSLESS = frozenset(
    f"1.2.840.10008.1.2.{ending}"
    for ending in ("4.57", "4.70", "4.80", "4.90", "4.92", "4.110", "4.201", "4.202", "5", "8.1")
)
_ALWAYS_LOSSY = frozenset(("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"))


def transcode_file(stored: StoredObject, target: str) -> bytes | memoryview:
    """The data set of a file in another transfer syntax.

    A native one keeps each value; one that is encapsulated is decompressed, so that its samples are what the decoder
    gives, without a change of colour space.

    Parameters
    ----------
    stored
        The file.
    target
        UID of a native transfer syntax.

    Returns
    -------
    bytes or memoryview
        Up to `IN_MEMORY` bytes, or a view of a temporary file, which goes with it.

    Raises
    ------
    UnusableObject
        If the file cannot be read, is damaged, or cannot be decompressed here.
    """
    own = stored.header.transfer_syntax_uid
    with _named(name_of(stored.file), own, target), open_stream(stored.file) as file:
        file.seek(stored.header.offset)
        return _transcode(file, own, target, stored.header.sop_class_uid, stored.header.sop_instance_uid)


def transcode_dataset(dataset: Dataset, own: str, target: str) -> bytes | memoryview:
    """A data set of pydicom's in another transfer syntax than its own; see `transcode_file`.

    Parameters
    ----------
    dataset
        With its SOP Class UID and SOP Instance UID; it stays as it is.
    own
        UID of its transfer syntax.
    target
        UID of a native transfer syntax.
    """
    instance = str(dataset.SOPInstanceUID)
    with _named(f"object {instance}", own, target):
        # pydicom does not swap words, so it encodes in the byte order that they have.
        little = transfer_syntax(own).is_little_endian
        if dataset.original_encoding[1] is not None:
            little = dataset.original_encoding[1]
        try:
            encoded = encode_object(dataset, False, little)
        except ValueError as error:
            raise UnusableObject(str(error)) from error
        if not transfer_syntax(own).is_encapsulated:
            own = EXPLICIT_VR_LITTLE_ENDIAN if little else EXPLICIT_VR_BIG_ENDIAN
        return _transcode(BytesIO(encoded), own, target, str(dataset.SOPClassUID), instance)


def even_file(stored: StoredObject) -> Source:
    """The data set of a file of odd length, which is not deflated, in a form of even length.

    Fragments of messages have even lengths (PS3.8 Annex E), and some peers wait for ever after one of an odd length. So
    each value is padded as PS3.5 section 7.1.1 asks for. Where that cannot be, because the data set is damaged, a zero
    byte follows it: what it has is for the peer to judge.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    header = stored.header
    with open_stream(stored.file) as file:
        file.seek(header.offset)
        padded = _padded(file, transfer_syntax(header.transfer_syntax_uid).encoding)
    if padded is None:
        return FileRange(stored.file, header.offset, stored.length, 1, stored.stamp)
    return padded


def even_content(encoded: bytes, own: str) -> bytes | memoryview:
    """As `even_file`, for a data set in memory.

    Parameters
    ----------
    encoded
        The data set.
    own
        UID of its transfer syntax.
    """
    padded = _padded(BytesIO(encoded), transfer_syntax(own).encoding)
    return encoded + b"\0" if padded is None else padded


def _padded(stream: BinaryIO, own: Encoding) -> bytes | memoryview | None:
    with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        sink = cast(BinaryIO, file)
        try:
            _Padding(stream, sink, own).run()
        except UnusableObject:
            return None
        return _content(sink)


class _named:
    """A context in which errors are raised with the object and the transfer syntaxes that they concern."""

    def __init__(self, subject: str, own: str, target: str) -> None:
        self._subject = subject
        self._names = transfer_syntax(own).name, transfer_syntax(target).name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            cause = error.strerror or str(error)
        elif isinstance(error, UnusableObject):
            cause = error.cause
        else:
            return
        own, target = self._names
        raise UnusableObject(
            f"{self._subject} cannot be converted from {own} to {target}: {cause}"
        ) from error


def _transcode(stream: BinaryIO, own: str, target: str, sop_class: str, instance: str) -> bytes | memoryview:
    before, after = transfer_syntax(own), transfer_syntax(target)
    with ExitStack() as files:

        def spool(write: Callable[[BinaryIO], object]) -> BinaryIO:
            sink = cast(BinaryIO, files.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY)))
            write(sink)
            sink.seek(0)
            return sink

        if before.is_encapsulated:
            compressed = stream
            decompress = DECODERS.decompress if _is_apart(own) else _decompress_to
            stream = spool(lambda sink: decompress(compressed, own, sop_class, instance, sink))
            before = transfer_syntax(EXPLICIT_VR_LITTLE_ENDIAN)
        elif before.is_deflated:
            deflated = stream
            stream = spool(lambda sink: sink.writelines(inflate(deflated)))
        if before.encoding is not after.encoding:
            source = stream
            stream = spool(lambda sink: _Conversion(source, sink, before.encoding, after.encoding).run())
        if after.is_deflated:
            plain = stream
            stream = spool(lambda sink: sink.writelines(_deflate(_chunks(plain))))
        return _content(stream)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: stream.read(_CHUNK), b"")


def _content(file: BinaryIO) -> bytes | memoryview:
    """What was written. A temporary file has no name any more, so it goes with the view."""
    size = file.seek(0, 2)
    if size > IN_MEMORY:
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
    file.seek(0)
    return file.read()


def inflate(stream: BinaryIO) -> Iterator[bytes]:
    """What a deflated data set inflates to, piece by piece.

    Raises
    ------
    UnusableObject
        If it is damaged, or inflates to more than the limit.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    length = 0
    for chunk in _chunks(stream):
        while chunk and not inflater.eof:
            try:
                piece = inflater.decompress(chunk, _CHUNK)
            except zlib.error as error:
                raise UnusableObject("its deflated data set is damaged") from error
            length += len(piece)
            if length > INFLATE_LIMIT:
                raise UnusableObject("it inflates to more than the limit")
            yield piece
            chunk = inflater.unconsumed_tail
    if not inflater.eof:
        raise UnusableObject("its deflated data set is cut off")


def _deflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    length = 0
    for chunk in chunks:
        deflated = deflater.compress(chunk)
        length += len(deflated)
        yield deflated
    rest = deflater.flush()
    yield rest + bytes((length + len(rest)) % 2)


@mutable
class _Level:
    """A data set, or an item inside of it, while it is converted.

    Parameters
    ----------
    encoding
        Its own, which may be another one than that of the data set.
    end
        Where it ends, in bytes; None where that shows when it is reached.
    depth
        How many sequences are around it.
    pixel_representation
        The value of Pixel Representation (0028,0103) so far, which that of an outer level is until there is another.
    """

    encoding: Encoding
    end: int | None = None
    depth: int = 0
    pixel_representation: int = 0


class _Conversion:
    """A native data set from one encoding into another (PS3.5 chapter 7), an element at a time.

    Values keep their bytes, but for the order of those of binary numbers and words. Group lengths, which would be
    wrong, are left out; sequences and items get an undefined length. Where a value representation is not known it is
    UN.

    Parameters
    ----------
    source, sink
        What to read from and to write to.
    before, after
        The encodings.
    last
        The tag of the last element that is wanted.
    """

    def __init__(
        self, source: BinaryIO, sink: BinaryIO, before: Encoding, after: Encoding, last: int = ITEM
    ) -> None:
        self._source = source
        self._sink = sink
        self._before = before
        self._after = after
        self._last = last
        self._at = 0
        # Those that are around what is converted.
        self._sequences: list[int] = []
        self._is_swapped = before.is_little_endian != after.is_little_endian

    def run(self) -> None:
        """Convert all of it."""
        level = _Level(self._before)
        if self._before.is_implicit and not self._after.is_implicit:
            # Elements in front of Pixel Representation may depend on it.
            begin = self._source.tell()
            beginning = _Conversion(
                self._source, _Nowhere(), self._before, self._after, _PIXEL_REPRESENTATION
            )
            beginning._convert(level)
            self._source.seek(begin)
        self._convert(level)

    def _read(self, count: int) -> bytes:
        data = self._source.read(count)
        if len(data) != count:
            raise UnusableObject("its data set is cut off or damaged")
        self._at += count
        return data

    def _header(self, encoding: Encoding) -> tuple[int, str, int]:
        """Tag, value representation (empty where there is none) and length of the next element or item."""
        raw = self._read(HEAD_SIZE)
        if not looks_like_vr(raw[4:6]):
            # Some encoders leave out the value representations in some of their items.
            encoding = encoding_of(True, encoding.is_little_endian)
        first, length = encoding.head(raw, 0)
        tag, vr, form = encoding.beginning(first)
        if vr and vr not in VRS:
            raise UnusableObject(f"{_name(tag)} has the unknown value representation {vr}")
        if form != IN_HEAD:
            rest = self._read(4) if vr in LONG_LENGTH else b""
            _, length = encoding.value(form, length, raw + rest, 0)
        return tag, vr, length

    def _convert(self, level: _Level) -> None:
        """Convert the elements of a data set or an item, up to its end."""
        if level.depth > _DEPTH_LIMIT:
            raise UnusableObject("its sequences are nested too deeply")
        while self._has_more(level):
            tag, vr, length = self._header(level.encoding)
            if tag == ITEM_END and level.end is None and level.depth:
                return
            if tag > self._last and not level.depth:
                return
            if tag >> 16 == ITEM >> 16:
                raise UnusableObject(f"there is an item outside of a sequence, at byte {self._at}")
            self._element(level, tag, vr, length)
        if level.end is not None and self._at > level.end:
            raise UnusableObject(f"an item ends inside an element, at byte {level.end}")

    def _has_more(self, level: _Level) -> bool:
        if level.end is not None:
            return self._at < level.end
        if level.depth:
            return True
        more = self._source.read(HEAD_SIZE)
        self._source.seek(-len(more), 1)
        # Less than a header may be zeros behind the last element.
        return len(more) == HEAD_SIZE or any(more)

    def _element(self, level: _Level, tag: int, vr: str, length: int) -> None:
        if tag == _PIXEL_REPRESENTATION and length <= 2:
            value = self._read(length)
            self._write_value(tag, vr or "US", length, iter((value,)))
            level.pixel_representation = int(any(value))
            return
        if vr and length:
            self._check_structure(tag, vr)
            if vr == "UN" and self._is_swapped and length != UNDEFINED_LENGTH and known_representations(tag):
                # As what it is, it is swapped; as UN, not all readers know that it is little endian.
                vr = ""
                if known_representations(tag) == ["SQ"]:
                    self._sequence(level, IMPLICIT_LITTLE, tag, length)
                    return
        vr = vr or representation(tag, length, level.pixel_representation)
        if vr == "SQ":
            self._sequence(level, level.encoding, tag, length)
        elif vr == "UN" and length == UNDEFINED_LENGTH:
            # Its value is in Implicit VR Little Endian, whatever is around it (PS3.5 section 6.2.2).
            if not self._before.is_little_endian:
                raise UnusableObject(f"{_name(tag)} is a sequence in another byte order")
            self._sequence(level, IMPLICIT_LITTLE, tag, length)
        elif length == UNDEFINED_LENGTH:
            self._encapsulated(tag, vr)
        elif tag & 0xFFFF == 0:
            self._read(length)
        elif self._after.is_implicit and length and conflict(tag, vr)[1]:
            value = self._read(length)
            if is_negative(value, vr, self._before.is_little_endian):
                raise UnusableObject(contradiction(tag, vr, conflict(tag, vr)[0]))
            self._write_value(tag, vr, length, iter((value,)))
        else:
            self._write_value(tag, vr, length, self._chunks(length))

    def _check_structure(self, tag: int, vr: str) -> None:
        """Refuse what the other encoding cannot carry, since the reader would take it for something else."""
        if self._after.is_implicit and not self._before.is_implicit:
            expected, is_sign = conflict(tag, vr)
            if expected and not is_sign:
                raise UnusableObject(contradiction(tag, vr, expected))
        if vr == "UN" and self._is_swapped and not self._before.is_little_endian:
            known = [one for one in known_representations(tag) if one == "SQ" or VRS[one].unit > 1]
            if known:
                # By PS3.5 section 6.2.2 it is in little endian, but not all writers know that.
                raise UnusableObject(
                    f"{_name(tag)} is written as UN, so that the byte order of {known[0]} is not sure"
                )

    def _encapsulated(self, tag: int, vr: str) -> None:
        place = f" in an item of {_name(self._sequences[-1])}" if self._sequences else ""
        raise UnusableObject(
            f"{_name(tag)}{place} is encapsulated, which its transfer syntax does not allow; only a peer that takes"
            " this one can have it as it is"
        )

    def _chunks(self, length: int) -> Iterator[bytes]:
        for left in range(length, 0, -_CHUNK):
            yield self._read(min(left, _CHUNK))

    def _write_header(self, tag: int, vr: str, length: int) -> None:
        self._sink.write(self._after.header(tag, vr, length))

    def _write_value(self, tag: int, vr: str, length: int, chunks: Iterator[bytes]) -> None:
        unit = VRS[vr].unit
        is_swapped = self._is_swapped and unit > 1
        if length > _SHORT_LIMIT and vr not in LONG_LENGTH and not self._after.is_implicit:
            # It has no other form in explicit VR (PS3.5 section 6.2.2), and is little endian in this one.
            vr, is_swapped = "UN", unit > 1 and not self._before.is_little_endian
        if is_swapped and length % unit:
            raise UnusableObject(f"the value of {_name(tag)} is not a multiple of {unit} bytes")
        padding = VRS[vr].padding * (length % 2)
        self._write_header(tag, vr, length + len(padding))
        for chunk in chunks:
            self._sink.write(_swap(chunk, unit) if is_swapped else chunk)
        self._sink.write(padding)

    def _sequence(self, level: _Level, encoding: Encoding, tag: int, length: int) -> None:
        if length == 0:
            self._write_header(tag, "SQ", 0)
            return
        end = None if length == UNDEFINED_LENGTH else self._at + length
        self._write_header(tag, "SQ", UNDEFINED_LENGTH)
        while end is None or self._at < end:
            item, _, item_length = self._header(encoding)
            if item == SEQUENCE_END and end is None:
                break
            if item != ITEM:
                raise UnusableObject(f"{_name(tag)} has something other than items, at byte {self._at}")
            if item_length == 0:
                self._write_header(ITEM, "", 0)
                continue
            self._write_header(ITEM, "", UNDEFINED_LENGTH)
            item_end = None if item_length == UNDEFINED_LENGTH else self._at + item_length
            self._sequences.append(tag)
            self._convert(_Level(encoding, item_end, level.depth + 1, level.pixel_representation))
            self._sequences.pop()
            self._write_header(ITEM_END, "", 0)
        if end is not None and self._at > end:
            raise UnusableObject(f"{_name(tag)} ends inside an item, at byte {end}")
        self._write_header(SEQUENCE_END, "", 0)


class _Padding(_Conversion):
    """A data set in its own encoding, each of its values padded to an even length (PS3.5 section 7.1.1).

    Parameters
    ----------
    source, sink
        What to read from and to write to.
    own
        The encoding.
    """

    def __init__(self, source: BinaryIO, sink: BinaryIO, own: Encoding) -> None:
        super().__init__(source, sink, own, own)

    def _encapsulated(self, tag: int, vr: str) -> None:
        self._write_header(tag, vr, UNDEFINED_LENGTH)
        while (found := self._header(self._before))[0] == ITEM and found[2] != UNDEFINED_LENGTH:
            length = found[2]
            self._write_header(ITEM, "", length + length % 2)
            self._sink.writelines(self._chunks(length))
            self._sink.write(bytes(length % 2))
        if found[0] != SEQUENCE_END:
            raise UnusableObject(f"{_name(tag)} has something other than fragments, at byte {self._at}")
        self._write_header(SEQUENCE_END, "", 0)


class _Check(_Conversion):
    """Whether an encapsulated data set is whole: pydicom reads one that is cut off as far as it can, and says nothing.

    Parameters
    ----------
    source
        The data set.
    own
        Its encoding.
    """

    def __init__(self, source: BinaryIO, own: Encoding) -> None:
        super().__init__(source, _Nowhere(), own, own)

    def _encapsulated(self, tag: int, vr: str) -> None:
        while (found := self._header(self._before))[0] == ITEM and found[2] != UNDEFINED_LENGTH:
            for _ in self._chunks(found[2]):
                continue
        if found[0] != SEQUENCE_END:
            raise UnusableObject(f"{_name(tag)} has something other than fragments, at byte {self._at}")


class _Nowhere(BytesIO):
    """A sink for what is only read."""

    def write(self, data: object) -> int:
        return 0


def _name(tag: int) -> str:
    known = keyword_for_tag(tag)
    return f"{known or 'element'} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


def _swap(data: bytes, unit: int) -> bytes:
    words = array(_CODES[unit], data)
    words.byteswap()
    return words.tobytes()


def decompress_for_another(question: Answer, content: BinaryIO) -> tuple[Answer, Result]:
    """Decompress what another process of ours asks for; see `Decoders`."""
    result = BytesIO()
    _decompress_to(content, question["own"], question["sop_class"], question["instance"], result)
    return {}, result.getbuffer()


@contextmanager
def inflated(stream: BinaryIO) -> Iterator[BinaryIO]:
    """A deflated data set, inflated in memory or in a temporary file, which is there in the block.

    Raises
    ------
    UnusableObject
        As of `inflate`.
    """
    with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        spool = cast(BinaryIO, file)
        spool.writelines(inflate(stream))
        spool.seek(0)
        yield spool


def is_lossless(uid: str) -> bool:
    """Whether nothing is lost by the compression of a transfer syntax, so that its pixels are those that there were."""
    return uid in _LOSSLESS or not transfer_syntax(uid).is_encapsulated


def is_decodable(uid: str) -> bool:
    """Whether objects of a transfer syntax are native, or a decoder for them is installed."""
    return not transfer_syntax(uid).is_encapsulated or _is_apart(uid)


def _is_apart(own: str) -> bool:
    """Whether a transfer syntax is decoded by a library that may end its process."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        # Where there is no decoder, that is told without another process.
        return get_decoder(UID(own)).is_available
    except NotImplementedError:
        return False


def _decompress_to(stream: BinaryIO, own: str, sop_class: str, instance: str, sink: BinaryIO) -> None:
    _write(_decompressed(stream, own, sop_class, instance), sink)


def _decompressed(stream: BinaryIO, own: str, sop_class: str, instance: str) -> Dataset:
    """A data set whose pixel data is decompressed by pydicom."""
    meta = create_file_meta(sop_class_uid=sop_class, sop_instance_uid=instance, transfer_syntax=own)
    begin = stream.tell()
    _Check(stream, transfer_syntax(own).encoding).run()
    stream.seek(begin)
    place = ""
    try:
        dataset = read_dataset(stream, False, True)
        for image, where in _images(dataset, is_top=True):
            place = where
            image.file_meta = deepcopy(meta)
            _decompress(image, own)
    except (OSError, MemoryError):
        raise
    except UnusableObject as error:
        raise UnusableObject(place + error.cause) from error
    except Exception as error:
        # Decoders raise whatever a damaged frame leads to.
        raise UnusableObject(place + _reason(own, error)) from error
    return dataset


def _decompress(image: Dataset, own: str) -> None:
    # pydicom counts them anew, whatever was said before.
    frames = int(image.get("NumberOfFrames") or 1)
    # The samples stay what was compressed, as a conversion to RGB would round them; but where they are to be RGB and
    # are not, they become that: whoever has the attributes from elsewhere, as with frames, takes them for it.
    is_to_be_rgb = image.PhotometricInterpretation == "RGB"
    held = _prepare(image, own, frames)
    image.decompress(as_rgb=is_to_be_rgb, generate_instance_uid=False, **held)
    bits = image.Rows * image.Columns * image.SamplesPerPixel * image.BitsAllocated * frames
    pixels = image.PixelData
    if (len(pixels) + 1) // 2 != (bits + 15) // 16:
        raise UnusableObject(
            f"its pixel data, decompressed, has {len(pixels)} bytes, its attributes ask for {(bits + 7) // 8}"
        )
    # pydicom writes this piece by piece, and bytes in three copies.
    image["PixelData"].value = BytesIO(pixels)
    if image.PhotometricInterpretation == "YBR_FULL_422":
        # Decoders give all samples of each pixel.
        image.PhotometricInterpretation = "YBR_FULL"
    _tell_lossy(image, own)


def _prepare(image: Dataset, own: str, frames: int) -> dict[str, Any]:
    """Give pydicom the frames one by one, as all that gives out frames finds them; returns options of its decoders."""
    content = bytes(image.PixelData) + _END_OF_FRAGMENTS
    extended = image.get("ExtendedOffsetTable") or b""
    told = max(int.from_bytes(content[4:HEAD_SIZE], "little") // 4, len(extended) // 8)
    if told > frames:
        # One that nobody counted would be lost.
        raise UnusableObject(f"its offset table tells of {told} frames, its attributes ask for {frames}")
    spans = spans_of_frames(BytesIO(content), 0, max(frames, 1), extended)
    found = [b"".join(content[begin:end] for begin, end in each) for each in spans]
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        # They describe fragments (PS3.3 section C.7.6.3.1.8), and there are none left.
        if keyword in image:
            del image[keyword]
    if own in _ALWAYS_LOSSY and image.SamplesPerPixel == 3:
        meaning = str(image.PhotometricInterpretation)
        plain = [without_adobe(frame, meaning) for frame in found]
        found = [frame for frame, _ in plain]
        image.PhotometricInterpretation = plain[0][1]
    image.PixelData = in_fragments(found)
    image["PixelData"].is_undefined_length = True
    held = bits_of(found[0], own, image.BitsAllocated) or image.BitsStored
    if image.BitsStored < held <= image.BitsAllocated:
        # Bits that are not used were compressed with the others, and may have an overlay.
        return {"bits_stored": held}
    if image.get("HighBit") not in (None, image.BitsStored - 1):
        # Decoders give samples of so few bits at the lower end.
        image.HighBit = image.BitsStored - 1
    return {}


def _write(dataset: Dataset, sink: BinaryIO) -> None:
    file = DicomFileLike(sink)
    file.is_implicit_VR, file.is_little_endian = False, True
    try:
        write_dataset(file, dataset)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # pydicom raises whatever the values lead to.
        raise UnusableObject(f"pydicom cannot encode it: {why_not_written(error)}") from error


def _images(dataset: Dataset, *, is_top: bool = False, place: str = "") -> Iterator[tuple[Dataset, str]]:
    """The data set and those of its items, such as icons, that have compressed pixel data (PS3.5 section A.4).

    With each comes where it is, in words for the beginning of an error; none for the data set itself.
    """
    for tag in list(dataset.keys()):
        if dataset.get_item(tag).VR == "SQ":
            for item in dataset[tag].value:
                yield from _images(item, place=f"in an item of {_name(tag)}: ")
        elif tag == _PIXEL_DATA and (is_top or dataset[tag].is_undefined_length):
            yield dataset, place


def _tell_lossy(dataset: Dataset, own: str) -> None:
    """What the transfer syntax told so far has to be told by an attribute (PS3.3 section C.7.6.1.1.5)."""
    if own in _ALWAYS_LOSSY or (own not in _LOSSLESS and "LossyImageCompression" not in dataset):
        dataset.LossyImageCompression = "01"


def _reason(own: str, error: Exception) -> str:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    try:
        decoder = get_decoder(UID(own))
    except NotImplementedError:
        return "pydicom has no decoder for it"
    if not decoder.is_available:
        return f"no decoder is installed, try dicomnet[transcode] ({'; '.join(decoder.missing_dependencies)})"
    # What each of several decoders says is on a line of its own.
    return f"pydicom cannot decode it: {' '.join(str(error).split())}"[:_REASON_LIMIT]

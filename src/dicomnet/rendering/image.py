"""An image in its file: its attributes, and one frame at a time, of which no more than that is read and decoded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import lru_cache
from io import BytesIO
from math import ceil
from struct import unpack
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import Decoder, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit

from ..datasets.codestreams import bits_of, in_fragments, without_adobe
from ..datasets.frames import Span, chunks_of, spans_of_frames
from ..datasets.transcode import inflate, is_lossless
from ..encoding.file_header import PREFIX_LENGTH, HeaderIncomplete, decode_file_header
from ..encoding.scan import HeaderScanner
from ..encoding.transfer_syntaxes import IMPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from ..encoding.walk import VALUE_LIMIT
from ..errors import ServiceRefusal, UnusableObject
from .view import NotRendered, Reason

Array = np.ndarray[Any, np.dtype[Any]]

# The most samples of a frame.
MOST_SAMPLES = 1 << 27
# Up to this size, in bytes, a file is read as a whole.
_IN_MEMORY = 4 << 20
_UNDEFINED = 0xFFFFFFFF
# In which order decoders are taken; pydicom's own takes the longest.
_FASTEST = ("pyjpegls", "pylibjpeg", "pillow", "gdcm", "pydicom")
_PIXEL_KEYWORDS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}
_ENCAPSULATED_DOCUMENT = 0x00420011
_IMAGE_PIXEL_GROUP = 0x0028
_LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
# What is read of a data set: what a picture depends on.
_READ: list[BaseTag | int] = [
    Tag(keyword)
    for keyword in (
        *(
            "SpecificCharacterSet",
            "SamplesPerPixel",
            "PhotometricInterpretation",
            "PlanarConfiguration",
            "NumberOfFrames",
        ),
        *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
        *("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelAspectRatio"),
        *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"),
        *("RescaleIntercept", "RescaleSlope", "ModalityLUTSequence"),
        *("WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence"),
        *("PresentationLUTShape", "RepresentativeFrameNumber"),
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
        *(
            f"{prefix}{color}PaletteColorLookupTable{what}"
            for color in ("Red", "Green", "Blue")
            for prefix, what in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
        ),
        "ExtendedOffsetTable",
        *("MIMETypeOfEncapsulatedDocument", "EncapsulatedDocumentLength"),
    )
]


_UNTOLD = "UN"
_SCANNER = HeaderScanner(dict.fromkeys(map(int, _READ), _UNTOLD))
# How many headers are kept that were scanned, and how long the values of one may be for that, in bytes.
_HEADERS, _SHORT_HEADER = 32, 4096
_WINDOW_NAME = int(Tag("WindowCenterWidthExplanation"))
# Of which the scan may have left out a part, or which have parts in a form of their own.
_NOT_PLAIN = frozenset(
    int(Tag(keyword))
    for keyword in (
        *("ModalityLUTSequence", "VOILUTSequence"),
        *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
        *("RedPaletteColorLookupTableDescriptor", "ExtendedOffsetTable"),
    )
)


class _Attributes(Dataset):
    """What was scanned of a header. What is asked for is looked up once, which takes pydicom 5 µs each time.

    Parameters
    ----------
    values
        By tag, the VR and the value as encoded.
    is_little_endian
        The order of its bytes.
    """

    def __init__(self, values: Iterable[tuple[int, tuple[str, bytes]]], is_little_endian: bool) -> None:
        elements: dict[BaseTag, DataElement | RawDataElement] = {
            BaseTag(tag): RawDataElement(
                *(BaseTag(tag), None if vr == _UNTOLD else vr, len(value), value, 0),
                *(vr == _UNTOLD, is_little_endian),
            )
            for tag, (vr, value) in values
        }
        super().__init__(elements)
        self._found: dict[str, Any] = {}

    def get(self, key: Any, default: Any = None) -> Any:
        """The value of an attribute by its keyword."""
        try:
            found = self._found[key]
        except KeyError:
            found = self._found[key] = super().get(key, _ABSENT)
        return default if found is _ABSENT else found


_ABSENT = object()
# The images of a series differ in nothing of this.
_known_attributes = lru_cache(maxsize=_HEADERS)(_Attributes)


class Stored(NamedTuple):
    """The samples of a frame as they are stored.

    Parameters
    ----------
    samples
        Rows × columns, or rows × columns × samples; with the bits that are not used.
    photometric
        What they mean: the photometric interpretation, which decoders may have changed.
    bits, high
        How many bits of a sample are used, and which one is the highest (PS3.5 section 8.1.1); None where the others
        are as they have to be.
    """

    samples: Array
    photometric: str
    bits: int
    high: int | None

    @property
    def values(self) -> Array:
        """The samples without the bits that are not used."""
        return used(self.samples, self.bits, self.high)


def used(samples: Array, bits: int, high: int | None) -> Array:
    """Samples without the bits that are not used, which may have an overlay."""
    size = 8 * samples.dtype.itemsize
    if samples.dtype.kind == "f" or high is None or bits >= size:
        return samples
    return cast(Array, (samples << (size - 1 - high)) >> (size - bits))


class Image:
    """An object in its file.

    Parameters
    ----------
    file
        Can be read at any place.

    Raises
    ------
    NotRendered
        If it cannot be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        # Where compressed frames are; the same in all that `of` gives.
        self._spans: list[Sequence[tuple[Span, ...]]] = []
        # pydicom asks the system for its place at each element of what is not in memory.
        size = file.seek(0, 2)
        file.seek(0)
        self._file = BytesIO(file.read()) if size <= _IN_MEMORY else file
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._read()
        except NotRendered:
            raise
        except (MemoryError, OSError):
            raise
        except Exception as error:
            # pydicom raises whatever a damaged file leads to.
            raise NotRendered(Reason.DAMAGED, f"its attributes cannot be read: {_line(error)}") from error

    def _read(self) -> None:
        start = self._file.read(PREFIX_LENGTH)
        try:
            header = decode_file_header(start)
        except HeaderIncomplete as more:
            header = decode_file_header(start + self._file.read(more.needed - len(start)))
        self.syntax = UID(header.transfer_syntax_uid or IMPLICIT_VR_LITTLE_ENDIAN)
        self.is_little_endian = self.syntax.is_little_endian
        self._file.seek(header.offset)
        if self.syntax.is_deflated:
            # There is no other way to a frame of it than through all that is before.
            deflated, self._file = self._file, BytesIO()
            self._file.writelines(inflate(deflated))
            self._file.seek(0)
        self._data_set_at = self._file.tell()
        self.attributes = self._scanned() or self._data_set(
            _READ, lambda tag, vr, length: tag in _PIXEL_KEYWORDS
        )
        self.keyword, self._vr, self._length = "", "", 0
        head = self._file.read(8)
        if len(head) == 8:
            group, element, length = unpack("<HHL" if self.is_little_endian else ">HHL", head)
            if not self.syntax.is_implicit_VR:
                self._vr = head[4:6].decode("latin-1")
                [length] = unpack("<L" if self.is_little_endian else ">L", self._file.read(4))
            self.keyword = _PIXEL_KEYWORDS.get(group << 16 | element, "")
            self._length = length
        self._begin = self._file.tell()
        self._check()

    def _scanned(self) -> Dataset | None:
        """What is read of a plain image, which is at its pixel data then; None where pydicom has to read it.

        The header of one of a series is looked through in a tenth of the time.
        """
        if not isinstance(self._file, BytesIO):
            return None
        try:
            found = _SCANNER.scan(self._file.getbuffer()[self._data_set_at :], str(self.syntax))
        except ServiceRefusal:
            return None
        _, name = found.values.get(_WINDOW_NAME, ("", b""))
        is_plain = _NOT_PLAIN.isdisjoint(found.values) and name.isascii()
        if found.pixel_data is None or found.pixel_data > VALUE_LIMIT or not is_plain:
            return None
        self._file.seek(self._data_set_at + found.pixel_data)
        values = tuple(found.values.items())
        is_short = sum(len(value) for _, (_, value) in values) <= _SHORT_HEADER
        return (_known_attributes if is_short else _Attributes)(values, self.is_little_endian)

    def _data_set(
        self, tags: list[BaseTag | int], is_end: Callable[[int, str | None, int], bool] | None
    ) -> Dataset:
        self._file.seek(self._data_set_at)
        return read_dataset(
            self._file,
            is_implicit_VR=self.syntax.is_implicit_VR,
            is_little_endian=self.is_little_endian,
            stop_when=is_end,
            specific_tags=tags,
        )

    def _check(self) -> None:
        found = self.attributes
        if not self.keyword:
            return
        for keyword in ("Rows", "Columns"):
            if not found.get(keyword):
                raise NotRendered(Reason.DAMAGED, f"it has no {keyword}, so that its pixels have no place")
        self.rows, self.columns = int(found.Rows), int(found.Columns)
        self.samples = int(found.get("SamplesPerPixel") or 1)
        self.photometric = str(found.get("PhotometricInterpretation") or "MONOCHROME2")
        self.frames = max(1, int(found.get("NumberOfFrames") or 1))
        self.allocated = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(
            self.keyword, int(found.get("BitsAllocated") or 0)
        )
        self.bits = min(int(found.get("BitsStored") or self.allocated), self.allocated)
        self.is_signed = found.get("PixelRepresentation") == 1
        if self.allocated not in (1, 8, 16, 32, 64) or self.bits < 1:
            raise NotRendered(Reason.DAMAGED, f"Bits Allocated {self.allocated} is not a size of samples")
        if self.samples not in (1, 3):
            raise NotRendered(Reason.NO_DECODER, f"images with {self.samples} samples a pixel are not shown")
        if self.rows * self.columns * self.samples > MOST_SAMPLES:
            raise NotRendered(
                Reason.TOO_MUCH,
                f"a frame of {self.columns} x {self.rows} pixels is larger than what is rendered",
            )

    def of(self, file: BinaryIO) -> Image:
        """The same image, whose file was opened anew."""
        if isinstance(self._file, BytesIO):
            return self
        other = copy(self)
        other._file = file
        return other

    @property
    def has_pixels(self) -> bool:
        """Whether it has any pixels."""
        return bool(self.keyword)

    def representative(self) -> int:
        """The number of a frame that stands for all: the one that the file names, or the middle one."""
        named = self.attributes.get("RepresentativeFrameNumber")
        return named if named and 1 <= named <= self.frames else (self.frames + 1) // 2

    def frame(self, number: int) -> Stored:
        """The stored values of a frame.

        Parameters
        ----------
        number
            From 1.

        Raises
        ------
        NotRendered
            If it cannot be decoded.
        """
        if self.syntax.is_compressed and not self.syntax.is_deflated:
            return self._decoded(number)
        return self._native(number)

    def groups(self, number: int) -> tuple[Dataset, ...]:
        """Where attributes of a frame are looked for: its own functional groups, those of all, the data set itself."""
        found = self.attributes
        own = found.get("PerFrameFunctionalGroupsSequence") or ()
        shared = found.get("SharedFunctionalGroupsSequence") or ()
        return (*own[number - 1 : number], *shared[:1], found)

    def _native(self, number: int) -> Stored:
        """From where it lies (PS3.5 section 8.1.1, PS3.3 section C.7.6.3.1)."""
        is_halved = self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and self.samples == 3
        count = self.rows * self.columns * (2 if is_halved else self.samples)
        bits = count * self.allocated
        at = (number - 1) * bits
        begin, end = at // 8, ceil((at + bits) / 8)
        is_swapped = not self.is_little_endian and self.allocated <= 8 and self._vr == "OW"
        if is_swapped:
            begin, end = begin & ~1, end + (end & 1)
        data = self._bytes(begin, end)
        if is_swapped:
            data = np.frombuffer(data, "u2").byteswap().tobytes()
        if self.allocated == 1:
            unpacked = np.unpackbits(np.frombuffer(data, "u1"), bitorder="little")
            values = unpacked[at - 8 * begin : at - 8 * begin + count]
        else:
            kind = "f" if self.keyword != "PixelData" else "i" if self.is_signed else "u"
            order = "<" if self.is_little_endian else ">"
            dtype = np.dtype(f"{order}{kind}{self.allocated // 8}")
            values = np.frombuffer(data, dtype, count, at // 8 - begin)
            values = values.astype(dtype.newbyteorder("="), copy=False)
        if is_halved:
            return self._stored(self._doubled(values), self.photometric.removesuffix("_422"))
        if self.samples == 1:
            return self._stored(values.reshape(self.rows, self.columns), self.photometric)
        if self.attributes.get("PlanarConfiguration") == 1:
            planes = values.reshape(self.samples, self.rows, self.columns)
            return self._stored(planes.transpose(1, 2, 0), self.photometric)
        return self._stored(values.reshape(self.rows, self.columns, self.samples), self.photometric)

    def _bytes(self, begin: int, end: int) -> bytes:
        if end > self._length != _UNDEFINED:
            if end - self._length > 1 or not self._length:
                raise NotRendered(Reason.DAMAGED, "its pixel data ends before this frame does")
            # Some writers leave out the padding.
            end = self._length
        self._file.seek(self._begin + begin)
        data = self._file.read(end - begin)
        if len(data) != end - begin:
            raise NotRendered(Reason.DAMAGED, "its file ends before this frame does")
        return data

    def _doubled(self, values: Array) -> Array:
        """Two pixels of each Y Y B R (PS3.3 section C.7.6.3.1.2)."""
        if self.columns % 2:
            raise NotRendered(Reason.DAMAGED, "an odd number of columns cannot share its colors in pairs")
        pairs = values.reshape(self.rows, self.columns // 2, 4)
        result = np.empty((self.rows, self.columns, 3), values.dtype)
        result[:, 0::2, 0], result[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
        for color in (1, 2):
            result[:, 0::2, color] = result[:, 1::2, color] = pairs[..., 1 + color]
        return result

    def _stored(self, samples: Array, photometric: str) -> Stored:
        return Stored(samples, photometric, self.bits, self._high(8 * samples.dtype.itemsize))

    def _high(self, size: int) -> int:
        """The highest bit that is used in samples of some bits."""
        high = int(self.attributes.get("HighBit", self.bits - 1))
        return high if self.bits - 1 <= high < size else self.bits - 1

    def _decoded(self, number: int) -> Stored:
        """By pydicom's decoders."""
        name = transfer_syntax(str(self.syntax)).name
        try:
            decoder = get_decoder(self.syntax)
        except NotImplementedError:
            raise NotRendered(Reason.NO_DECODER, f"there is no decoder of {name}") from None
        if not decoder.is_available:
            missing = "; ".join(decoder.missing_dependencies)
            raise NotRendered(
                Reason.NO_DECODER, f"no decoder of {name} is installed, try dicomnet[render] ({missing})"
            )
        if self.syntax == JPEGExtended12Bit and self.bits > 8:
            raise NotRendered(Reason.NO_DECODER, "no decoder takes JPEG Extended of more than 8 bits")
        try:
            frame = self._compressed(number)
        except UnusableObject as error:
            raise NotRendered(Reason.DAMAGED, f"a frame cannot be decoded: {error.cause}") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._decoded_by(decoder, frame)

    def _compressed(self, number: int) -> bytes:
        """A frame as it is stored, found as all that gives out frames finds it."""
        if not self._spans:
            extended = self.attributes.get("ExtendedOffsetTable") or b""
            self._spans.append(spans_of_frames(self._file, self._begin, self.frames, extended))
        return b"".join(chunks_of(self._file, self._spans[0][number - 1]))

    def _decoded_by(self, decoder: Decoder, frame: bytes) -> Stored:
        """By the first one of the installed libraries that can."""
        is_colored = self.samples == 3 and self.syntax in _LOSSY_JPEG
        plain, told = without_adobe(frame, self.photometric) if is_colored else (frame, self.photometric)
        held = bits_of(frame, str(self.syntax), self.allocated) or self.bits
        # Bits that are not used are compressed with the others: only the attributes tell which ones they are.
        has_others = self.bits < held <= self.allocated
        content = in_fragments([plain])
        failures: list[Exception] = []
        for plugin in sorted(decoder.available_plugins, key=_FASTEST.index):
            try:
                values, properties = decoder.as_array(
                    content,
                    index=0,
                    raw=True,
                    decoding_plugin=plugin,
                    **as_pixel_options(
                        self.attributes.group_dataset(_IMAGE_PIXEL_GROUP),
                        transfer_syntax_uid=self.syntax,
                        photometric_interpretation=told,
                        bits_stored=held if has_others else self.bits,
                        number_of_frames=1,
                        pixel_keyword=self.keyword,
                        pixel_vr=self._vr or "OW",
                    ),
                )
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001
                # Decoders raise whatever a damaged frame leads to.
                failures.append(error)
            else:
                # Names of components count where there is nothing of Adobe's.
                photometric = cast(str, properties["photometric_interpretation"]) if plain is frame else told
                high = self._high(8 * values.dtype.itemsize) if has_others else None
                if high == self.bits - 1 and not is_lossless(str(self.syntax)):
                    # What is a little too bright by its compression would become dark.
                    high = None
                return Stored(values, photometric, self.bits, high)
        # pydicom has what the library said in the last line.
        cause = str(failures[0]).strip().splitlines()[-1].strip()[:200]
        raise NotRendered(Reason.DAMAGED, f"a frame cannot be decoded: {cause}") from failures[0]

    def document(self) -> bytes | None:
        """The content of an encapsulated PDF document (PS3.3 section C.24.2); None if it is not one."""
        if self.attributes.get("MIMETypeOfEncapsulatedDocument") != "application/pdf":
            return None
        found = self._data_set([_ENCAPSULATED_DOCUMENT], None)
        content = cast(bytes, found.get("EncapsulatedDocument") or b"")
        length = self.attributes.get("EncapsulatedDocumentLength") or len(content)
        return content[:length]


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class LastImage:
    """The image with many frames that was opened last: viewers ask for one frame of it after the other.

    Its attributes are read once, which takes long where each frame has its own.
    """

    def __init__(self) -> None:
        self._identity: tuple[int, ...] = ()
        self._image: Image | None = None

    def open(self, file: BinaryIO) -> Image:
        """The image in a file that has a descriptor; exceptions are those of `Image`."""
        status = os.fstat(file.fileno())
        identity = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
        if self._image is not None and identity == self._identity:
            return self._image.of(file)
        image = Image(file)
        if image.has_pixels and image.frames > 1:
            self._identity, self._image = identity, image
        return image

"""Data sets to and from bytes, and file meta information, by pydicom."""

from __future__ import annotations

import logging
import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID

from .._version import IMPLEMENTATION_CLASS_UID
from ..dimse.datasets import OUT_OF_RESOURCES
from ..encoding.scan import scan
from ..encoding.transfer_syntaxes import EXPLICIT_VR_LITTLE_ENDIAN, transfer_syntax
from ..errors import ServiceRefusal
from ..services.registry import PROCESSING_FAILURE
from .plain import (
    TextNotEncodable,
    check_text,
    correct_character_sets,
    decode_plain,
    encode_plain,
    first_encoder,
    in_unicode,
)
from .pydicom_insides import why_not_written

if TYPE_CHECKING:
    from ..values import Buffer


_log = logging.getLogger(__name__)

# What a deflated data set may become at the most, in bytes; it stays deflated wherever it need not be decoded.
INFLATE_LIMIT = 1 << 30
# Of the normalized services (PS3.7 Annex C.5.18).
_RESOURCE_LIMITATION = 0x0213


def decode(
    bytestring: BytesIO | Buffer, is_implicit_vr: bool, is_little_endian: bool, deflated: bool = False
) -> Dataset:
    """Decode a data set.

    Parameters
    ----------
    bytestring
        The encoded data set.
    is_implicit_vr, is_little_endian, deflated
        What its transfer syntax says.

    Raises
    ------
    ServiceRefusal
        If it inflates to more than the limit.
    zlib.error
        If it is deflated, and damaged or cut off.
    """
    encoded = bytestring.getvalue() if isinstance(bytestring, BytesIO) else bytes(bytestring)
    if deflated:
        encoded = _inflated(encoded)
    plain = decode_plain(encoded, is_implicit_vr, is_little_endian)
    return plain if plain is not None else _read(encoded, is_implicit_vr, is_little_endian)


def decode_whole(encoded: Buffer, transfer_syntax_uid: str) -> Dataset:
    """Decode a data set that has to be whole; `decode` gives what is there of one that is cut off.

    Parameters
    ----------
    encoded
        The encoded data set.
    transfer_syntax_uid
        UID of its transfer syntax.

    Raises
    ------
    ServiceRefusal
        With status 0xC000, if it does not parse to its end; with status 0xA700, if it inflates to more than the limit.
    zlib.error
        If it is deflated, and damaged or cut off.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    content = _inflated(bytes(encoded)) if syntax.is_deflated else bytes(encoded)
    how = syntax.is_implicit, syntax.is_little_endian
    plain = decode_plain(content, *how)
    if plain is not None and not any(element.VR == "SQ" for element in dict(plain.items()).values()):
        return plain
    scan(content, EXPLICIT_VR_LITTLE_ENDIAN if syntax.is_deflated else transfer_syntax_uid, {})
    return _read(content, *how) if plain is None else plain


def decode_request(encoded: Buffer, transfer_syntax_uid: str, keyword: str) -> Dataset:
    """Decode the data set of a request for the handler that performs it.

    Parameters
    ----------
    encoded, transfer_syntax_uid
        As of `decode_whole`.
    keyword
        Which parameter it is, such as ``Identifier``. The object of a C-STORE (``DataSet``) is decoded as far as it
        goes.

    Raises
    ------
    ServiceRefusal
        If it does not parse to its end, where it would say something else than was meant: with status 0xC000 for an
        Identifier; for the information of a normalized service with 0x0110, and with 0x0213 if it inflates to more than
        the limit (PS3.7 Annex C.5).
    zlib.error
        If it is deflated, and damaged or cut off.
    """
    if keyword == "DataSet":
        syntax = transfer_syntax(transfer_syntax_uid)
        return decode(encoded, syntax.is_implicit, syntax.is_little_endian, syntax.is_deflated)
    try:
        return decode_whole(encoded, transfer_syntax_uid)
    except ServiceRefusal as error:
        if keyword == "Identifier":
            raise
        status = _RESOURCE_LIMITATION if error.status == OUT_OF_RESOURCES else PROCESSING_FAILURE
        raise ServiceRefusal(status, error.comment) from error


def _read(encoded: bytes, is_implicit_vr: bool, is_little_endian: bool) -> Dataset:
    dataset = read_dataset(BytesIO(encoded), is_implicit_vr, is_little_endian)
    correct_character_sets(dataset)
    return dataset


def _inflated(encoded: bytes) -> bytes:
    if encoded:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        encoded = inflater.decompress(encoded, INFLATE_LIMIT)
        if inflater.unconsumed_tail:
            raise ServiceRefusal(OUT_OF_RESOURCES, "the data set inflates to more than the limit")
        if not inflater.eof:
            raise zlib.error("the deflated data set is cut off")
    return encoded


def encode(ds: Dataset, is_implicit_vr: bool, is_little_endian: bool, deflated: bool = False) -> bytes | None:
    """Encode a data set.

    Parameters
    ----------
    ds
        Without group 0002 elements.
    is_implicit_vr, is_little_endian, deflated
        What the transfer syntax says.

    Returns
    -------
    bytes or None
        None if it cannot be encoded; the log says why.
    """
    try:
        return encode_object(ds, is_implicit_vr, is_little_endian, deflated)
    except ValueError as error:
        _log.error("%s", error)
        return None


def encode_object(ds: Dataset, is_implicit_vr: bool, is_little_endian: bool, deflated: bool = False) -> bytes:
    """Encode the data set of an object; see `encode`.

    Where it has no Specific Character Set, its text is in Latin-1 as far as that goes, and else in ISO_IR 192, which is
    told. What was read without one is written as it was, or where somebody has looked at it, in ISO_IR 192.

    Raises
    ------
    ValueError
        If it cannot be encoded; `TextNotEncodable` if its Specific Character Set cannot hold its text.
    """
    return _encode(ds, (is_implicit_vr, is_little_endian, deflated), is_strict=False, may_recode=False)


def encode_keys(ds: Dataset, is_implicit_vr: bool, is_little_endian: bool, deflated: bool = False) -> bytes:
    """Encode an identifier, or another data set of a request.

    Where it has no Specific Character Set, text that is not ASCII is sent in ISO_IR 192.

    Raises
    ------
    ValueError
        As with `encode_object`.
    """
    return _encode(ds, (is_implicit_vr, is_little_endian, deflated), is_strict=True, may_recode=False)


def encode_answer(ds: Dataset, is_implicit_vr: bool, is_little_endian: bool, deflated: bool = False) -> bytes:
    """Encode the data set of a response; one that its Specific Character Set cannot hold is sent in ISO_IR 192.

    Raises
    ------
    ValueError
        If it cannot be encoded.
    """
    return _encode(ds, (is_implicit_vr, is_little_endian, deflated), is_strict=True, may_recode=True)


def _encode(ds: Dataset, how: tuple[bool, bool, bool], *, is_strict: bool, may_recode: bool) -> bytes:
    is_implicit_vr, is_little_endian, deflated = how
    try:
        encoded = _native(ds, is_implicit_vr, is_little_endian, is_strict)
    except TextNotEncodable as error:
        if error.chosen and not may_recode:
            raise
        encoded = _native(_recoded(ds), is_implicit_vr, is_little_endian, is_strict)
    return deflate(encoded) if deflated else encoded


def deflate(encoded: bytes) -> bytes:
    """An encoded data set as the deflated transfer syntax has it (PS3.5 section A.5)."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(encoded) + deflater.flush()
    return deflated + b"\x00" * (len(deflated) % 2)


def _recoded(ds: Dataset) -> Dataset:
    try:
        return in_unicode(ds)
    except Exception as error:
        # pydicom raises whatever the values lead to.
        raise ValueError(f"the data set could not be encoded: {why_not_written(error)}") from error


def _native(ds: Dataset, is_implicit_vr: bool, is_little_endian: bool, is_strict: bool) -> bytes:
    encoded = encode_plain(ds, is_implicit_vr, is_little_endian, is_strict=is_strict)
    if encoded is not None:
        return encoded
    stream = DicomBytesIO()
    stream.is_implicit_VR = is_implicit_vr
    stream.is_little_endian = is_little_endian
    try:
        check_text(ds, first_encoder(ds, is_strict), is_strict)
        write_dataset(stream, ds)
    except TextNotEncodable:
        raise
    except Exception as error:
        # pydicom raises whatever the values lead to.
        raise ValueError(f"the data set could not be encoded: {why_not_written(error)}") from error
    return stream.getvalue()


def create_file_meta(
    *,
    sop_class_uid: UID | str,
    sop_instance_uid: UID | str,
    transfer_syntax: UID | str,
    implementation_uid: UID | str = IMPLEMENTATION_CLASS_UID,
    implementation_version: str | None = None,
) -> FileMetaDataset:
    """File meta information with its group length (PS3.10 section 7.1).

    Parameters
    ----------
    sop_class_uid, sop_instance_uid
        Of the data set.
    transfer_syntax
        In which the data set is encoded.
    implementation_uid, implementation_version
        Who writes the file.
    """
    from .._version import IMPLEMENTATION_VERSION_NAME

    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(implementation_uid)
    meta.ImplementationVersionName = implementation_version or IMPLEMENTATION_VERSION_NAME
    # Each value, padded, behind a header of 8 bytes; that of the version, which is OB, has 12.
    lengths = (len(element.value) for element in meta if element.tag != 0x00020000)
    meta.FileMetaInformationGroupLength = sum(8 + length + length % 2 for length in lengths) + 4
    return meta


def encode_file_meta(file_meta: FileMetaDataset) -> bytes:
    """Encode file meta information, with its group length and without preamble."""
    stream = DicomBytesIO()
    stream.is_implicit_VR = False
    stream.is_little_endian = True
    write_file_meta_info(stream, file_meta)
    return stream.getvalue()

"""Fields of PDUs and items: a bounded cursor that reads them, and encoders with their checks (PS3.8 section 9.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from struct import Struct
from typing import Any, TypeVar

from .. import _config
from ..errors import ProtocolError
from ..values import Buffer

INVALID_VALUE = 6
UNRECOGNISED_PDU = 1
UNEXPECTED_PDU = 2

# Of the content of an item or field, whose length has two bytes.
MAXIMUM_ITEM_LENGTH = 0xFFFF

Made = TypeVar("Made")

_ITEM_HEADER = Struct(">BxH").pack
# How many faults of one PDU are kept; a peer can put thousands into one.
_MOST_FAULTS = 16


class Cursor:
    """A reader of big-endian fields that never reads past the end of its view.

    Parameters
    ----------
    view
        The bytes of exactly one PDU or item.
    what
        Name of the PDU or item, for the error text.

    Raises
    ------
    ProtocolError
        By every read that would pass the end.
    """

    __slots__ = ("_at", "_view", "what")

    def __init__(self, view: memoryview, what: str) -> None:
        self._view = view
        self._at = 0
        self.what = what

    def read(self, count: int) -> memoryview:
        end = self._at + count
        if end > len(self._view):
            raise ProtocolError(f"{self.what} is shorter than the fields in it")
        part = self._view[self._at : end]
        self._at = end
        return part

    def rest(self) -> memoryview:
        return self.read(len(self._view) - self._at)

    def skip(self, count: int) -> None:
        self.read(count)

    def u8(self) -> int:
        return self.read(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.read(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.read(4), "big")

    def block16(self) -> memoryview:
        """A field that is preceded by its two-byte length."""
        return self.read(self.u16())

    def uid16(self) -> str:
        """A UID behind its own two-byte length."""
        return uid_from(self.block16())

    def items(self) -> Iterator[tuple[int, memoryview]]:
        """The remaining items, each as (type, content). On the wire: type, reserved byte, two-byte length, content."""
        while self._at < len(self._view):
            item_type = self.u8()
            self.skip(1)
            yield item_type, self.block16()


def uid_from(content: memoryview) -> str:
    """A UID of the peer's as it came, without the padding that some peers add (PS3.8 Annex F forbids it).

    It ends at the first NUL. What is not ASCII is decoded with ``_config.CODECS``, or else kept as Latin-1, which
    equals no UID.
    """
    encoded = bytes(content).partition(b"\x00")[0].strip()
    if encoded.isascii():
        return encoded.decode("ascii")
    try:
        return decode_bytes(encoded).strip()
    except ValueError:
        return encoded.decode("latin-1")


def decode_bytes(encoded_value: bytes) -> str:
    """Decode text as ASCII, or with the first of ``_config.CODECS`` that succeeds.

    Characters outside ASCII, such as the zero-width spaces that some peers put into their UIDs, are removed.

    Raises
    ------
    ValueError
        If no codec can decode it.
    LookupError
        If ``_config.CODECS`` names a codec that does not exist.
    """
    codecs = dict.fromkeys(("ascii", *_config.CODECS))
    for codec in codecs:
        with suppress(UnicodeDecodeError):
            return encoded_value.decode(codec).encode("ascii", "ignore").decode("ascii")
    raise ValueError(f"none of the codecs {', '.join(codecs)} can decode the bytes {encoded_value.hex(' ')}")


def text_from(content: memoryview) -> str:
    """Text of the peer's up to the first NUL. Latin-1 is a superset of what the standard allows, and never fails."""
    return bytes(content).partition(b"\x00")[0].decode("latin-1").strip()


def uid_bytes(uid: str, what: str) -> bytes:
    """Encode a UID that is to be sent.

    Raises
    ------
    ValueError
        If it is empty, longer than 64 characters or not ASCII.
    """
    if not 0 < len(uid) <= 64 or not uid.isascii():
        raise ValueError(f"{what} must be a UID of 1 to 64 ASCII characters, not {uid!r}")
    return uid.encode("ascii")


def ae_title_bytes(title: str, what: str) -> bytes:
    """Encode an AE title as 16 bytes, padded with spaces (PS3.8 section 9.3.2).

    Raises
    ------
    ValueError
        If it is blank, longer than 16 characters, or has a control character, a backslash or a non-ASCII character.
    """
    stripped = title.strip(" ")
    if (
        not 0 < len(stripped) <= 16
        or not stripped.isascii()
        or not stripped.isprintable()
        or "\\" in stripped
    ):
        raise ValueError(
            f"{what} must have 1 to 16 printable ASCII characters and no backslash, not {title!r}"
        )
    return stripped.encode("ascii").ljust(16)


def received(cls: type[Made], *values: Any) -> Made:
    """An instance of a frozen class that holds what a peer sent, without the checks of what we build ourselves."""
    made = object.__new__(cls)
    for name, value in zip(cls.__match_args__, values, strict=True):  # type: ignore[attr-defined]
        object.__setattr__(made, name, value)
    return made


def note(faults: list[str], fault: str) -> None:
    """Keep a fault that costs no more than what has it, to be logged; of very many, only the first ones."""
    if len(faults) < _MOST_FAULTS:
        faults.append(fault)


def check_range(value: int, low: int, high: int, what: str) -> None:
    """Raise ValueError unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ValueError(f"{what} must be between {low} and {high}, not {value}")


def item(item_type: int, *content: Buffer) -> bytes:
    """Encode an item: type, reserved byte, two-byte length, content.

    Raises
    ------
    ValueError
        If the content is longer than 65,535 bytes.
    """
    body = b"".join(content)
    if len(body) > MAXIMUM_ITEM_LENGTH:
        raise ValueError(f"item 0x{item_type:02X} is longer than 65,535 bytes")
    return _ITEM_HEADER(item_type, len(body)) + body


@lru_cache(1024)
def check_uid(uid: str, what: str) -> None:
    """Raise ValueError for a UID of ours that `uid_bytes` cannot encode."""
    uid_bytes(uid, what)


@lru_cache(1024)
def uid_item(item_type: int, uid: str) -> bytes:
    """An item that holds nothing but a UID: ours, which was checked when it was built, or a peer's as it came."""
    return item(item_type, uid.encode("latin-1"))


def uid16(uid: str) -> bytes:
    """A UID, checked when it was built or as it came, behind its own two-byte length."""
    return block16(uid.encode("latin-1"))


def block16(content: bytes) -> bytes:
    """Encode a field preceded by its two-byte length; raises ValueError if it is longer than 65,535 bytes."""
    if len(content) > 0xFFFF:
        raise ValueError("a field of an item is longer than 65,535 bytes")
    return len(content).to_bytes(2, "big") + content

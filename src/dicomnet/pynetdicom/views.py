"""Base classes of the read-only views of PDUs and their items in `pdu`, `pdu_items` and `user_information`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from typing import Any, ClassVar, Self

from pydicom.config import IGNORE
from pydicom.uid import UID

from ..values import Buffer

HEADER_LENGTH = 4
"""The bytes of an item's header: type, a reserved byte and length (PS3.8 section 9.3.1)."""
NOT_SAID = "(not said)"


def known_uid(value: str) -> UID:
    """A UID as the peer sent it, which need not be a valid one."""
    return UID(value, IGNORE)


def uid_or_none(value: str) -> UID | None:
    return known_uid(value) if value else None


def known_uids(values: Iterable[str]) -> list[UID]:
    return [known_uid(value) for value in values]


class Shown:
    """A descriptor: an attribute of a view that shows a field of the PDU or item behind it.

    Parameters
    ----------
    field
        The field's name; empty for what is behind the view as a whole.
    convert
        From the field's value to the shown one.
    empty
        The value while nothing is behind the view.
    """

    def __init__(
        self, field: str = "", convert: Callable[[Any], Any] | None = None, empty: Any = None
    ) -> None:
        self.field = field
        self.convert = convert
        self.empty = empty
        self.__doc__ = f"Shows ``{field}``." if field else "The value."

    def __get__(self, view: View | None, owner: type) -> Any:
        if view is None:
            return self
        if view.wire is None:
            return copy(self.empty)
        value = getattr(view.wire, self.field) if self.field else view.wire
        return value if self.convert is None else self.convert(value)

    def __set__(self, view: View, value: object) -> None:
        raise AttributeError(
            "a view of a PDU is read-only; build another one of the classes of pdu_primitives"
        )


class View:
    """Shows a PDU, or an item of one.

    Attributes
    ----------
    wire
        What is shown, None before something was decoded.
    """

    def __init__(self) -> None:
        self.wire: Any = None

    @classmethod
    def of(cls, wire: Any) -> Self:
        """The view of a PDU or item of ``wire``."""
        view = cls()
        view.wire = wire
        return view

    def encode(self) -> bytes:
        """The bytes of the PDU or item.

        Raises
        ------
        ValueError
            If nothing was decoded yet, or a value cannot be sent.
        """
        if self.wire is None:
            raise ValueError(f"there is nothing in this {type(self).__name__} yet")
        encoded: bytes = self.wire.encode()
        return encoded

    def __len__(self) -> int:
        return len(self.encode())

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, View):
            return NotImplemented
        return type(self) is type(other) and bool(self.wire == other.wire)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self, indent: str = "") -> list[str]:
        lines = [f"{indent}{type(self).__name__}"]
        shown = dict.fromkeys(
            name for cls in type(self).__mro__ for name, row in vars(cls).items() if isinstance(row, Shown)
        )
        for name in shown:
            value = getattr(self, name)
            views = [each for each in value if isinstance(each, View)] if isinstance(value, list) else []
            if views:
                lines += [line for each in views for line in each._lines(indent + "  ")]
            else:
                lines.append(f"{indent}  {name}: {_short(value)}")
        return lines


def _short(value: Any) -> str:
    if isinstance(value, UID):
        return str(value.name)
    if isinstance(value, bytes) and len(value) > 16:
        return f"{value[:16].hex(' ')} … ({len(value)} bytes)"
    if isinstance(value, list):
        return ", ".join(map(_short, value)) or "(none)"
    return value.hex(" ") if isinstance(value, bytes) else str(value)


class PDUItem(View):
    """An item of a PDU (PS3.8 section 9.3.1)."""

    wire_type: ClassVar[Any] = None

    @property
    def item_type(self) -> int:
        """The item's type."""
        kind: int = self.wire_type.item_type
        return kind

    @property
    def item_length(self) -> int:
        """How many bytes follow the item's header."""
        return len(self.encode()) - HEADER_LENGTH

    def decode(self, bytestream: Buffer) -> None:
        """Show an encoded item, given with its header.

        Raises
        ------
        ProtocolError
            If it is malformed.
        """
        self.wire = self.wire_type.decode(memoryview(bytestream)[HEADER_LENGTH:])

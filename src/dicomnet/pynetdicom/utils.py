"""Checks and conversions of the values that users give, and a few helpers, under the names that pynetdicom has."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from contextvars import copy_context
from io import BytesIO
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydicom.uid import UID

from .. import _config
from ..drivers.transport import Address
from ..wire.fields import decode_bytes as decode_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOGGER = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def set_ae(value: str | None, name: str, allow_empty: bool = True, allow_none: bool = True) -> str | None:
    """Check an AE title with the validator ``_config.VALIDATORS["AE"]``.

    Parameters
    ----------
    value
        The AE title.
    name
        Its name in error messages.
    allow_empty
        Whether it may be empty or all spaces.
    allow_none
        Whether it may be None.

    Returns
    -------
    str | None
        `value`, unchanged.

    Raises
    ------
    TypeError
        Where it is not a str.
    ValueError
        Where it is not an AE title.
    """
    if value is None and allow_none:
        return None
    if not isinstance(value, str):
        raise TypeError(f"{name} takes a str{' or None' if allow_none else ''}, and got {_kind(value)}")
    if not value.strip():
        if not allow_empty:
            raise ValueError(f"{name} cannot be empty or all spaces")
        if not value:
            return value
    is_valid, reason = _config.VALIDATORS["AE"](value)
    if not is_valid:
        raise ValueError(f"{name} cannot be {value!r}: {reason}")
    return value


def text_of(value: Any, name: str, stacklevel: int = 3) -> Any:
    """`value`, decoded and stripped if it is bytes, the deprecated form of an AE title; anything else as it is."""
    if not isinstance(value, bytes):
        return value
    warnings.warn(f"{name} should be given as str, not as bytes", DeprecationWarning, stacklevel=stacklevel)
    return decode_bytes(value).strip()


def title_of(value: str | bytes, name: str, stacklevel: int = 3) -> str:
    """Check an AE title that must be given, and decode it if it is bytes, which are deprecated.

    Raises
    ------
    TypeError, ValueError
        As `set_ae`.
    """
    return set_ae(text_of(value, name, stacklevel + 1), name, False, False) or ""


def address_of(addr: str | tuple[str, int, int], port: int) -> Address:
    """The address of a peer, as a program gave it: a host, or an address of IPv6 with flow and scope, and a port.

    Raises
    ------
    TypeError
        If it is not of these types.
    """
    if isinstance(addr, tuple):
        # A link-local address of IPv6 is one only together with the interface.
        addr, _, scope_id = addr
        addr = f"{addr}%{scope_id}" if scope_id else addr
    if not isinstance(addr, str):
        raise TypeError("the peer's address must be a str")
    if not isinstance(port, int):
        raise TypeError("the peer's port must be an int")
    return Address(addr, port)


def set_uid(
    value: str | bytes | UID | None,
    name: str,
    allow_empty: bool = True,
    allow_none: bool = True,
    validate: bool = True,
) -> UID | None:
    """Convert to a `pydicom.uid.UID` and check it with the validator ``_config.VALIDATORS["UI"]``.

    Parameters
    ----------
    value
        The UID; bytes are decoded by `decode_bytes`.
    name
        Its name in error messages.
    allow_empty
        Whether it may be empty.
    allow_none
        Whether it may be None.
    validate
        Whether to check it.

    Raises
    ------
    TypeError
        Where it is of another type.
    ValueError
        Where it is not a UID.
    """
    if value is None and allow_none:
        return None
    if isinstance(value, bytes):
        value = decode_bytes(value)
    if not isinstance(value, str):
        raise TypeError(
            f"{name} takes a str, bytes{', UID or None' if allow_none else ' or UID'}, and got {_kind(value)}"
        )
    uid = UID(value)
    if not uid:
        if not allow_empty:
            raise ValueError(f"{name} cannot be empty")
        return uid
    if validate:
        is_valid, reason = _config.VALIDATORS["UI"](uid)
        if not is_valid:
            raise ValueError(f"{name} cannot be {uid!r}: {reason}")
        if not uid.is_valid:
            LOGGER.warning("%s does not conform to PS3.5 chapter 9: %r", name, str(uid))
    return uid


def validate_uid(uid: UID) -> bool:
    """Whether a UID is acceptable: conformant under ``_config.ENFORCE_UID_CONFORMANCE``, else 1 to 64 characters."""
    return _config.validate_ui(uid)[0]


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"


def pretty_bytes(
    bytestream: bytes | BytesIO,
    prefix: str = "  ",
    delimiter: str = "  ",
    items_per_line: int = 16,
    max_size: int | None = 512,
    suffix: str = "",
) -> list[str]:
    """Bytes as lines of hexadecimal numbers.

    Parameters
    ----------
    bytestream
        The bytes; of a BytesIO all of them, at whatever position it is.
    prefix, suffix
        What begins and ends each line.
    delimiter
        What stands between two numbers.
    items_per_line
        Numbers in a line.
    max_size
        The largest number of bytes to show, None for all. Where there are more, the first line says so.
    """
    data = bytestream.getvalue() if isinstance(bytestream, BytesIO) else bytestream
    lines = []
    if max_size is not None and len(data) > max_size:
        lines.append(f"{prefix}The first {max_size} of {len(data)} bytes:{suffix}")
        data = data[:max_size]
    for start in range(0, len(data), items_per_line):
        numbers = (f"{byte:02x}" for byte in data[start : start + items_per_line])
        lines.append(prefix + delimiter.join(numbers) + suffix)
    return lines


def make_target(target_fn: Callable[P, R]) -> Callable[P, R]:
    """`target_fn` for another thread: with ``_config.PASS_CONTEXTVARS`` it runs in a copy of the current context."""
    if not _config.PASS_CONTEXTVARS:
        return target_fn
    context = copy_context()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        return context.run(target_fn, *args, **kwargs)

    return run


@contextlib.contextmanager
def set_timer_resolution(resolution: float | None) -> Iterator[None]:
    """Ask for finer timers on Microsoft Windows while the context lasts; does nothing elsewhere.

    Parameters
    ----------
    resolution
        In ms, at least 1; None for no change.
    """
    if sys.platform != "win32" or resolution is None:
        yield
    else:
        import ctypes

        timers: Any = ctypes.WinDLL("winmm")
        period = max(1, round(resolution))
        timers.timeBeginPeriod(period)
        try:
            yield
        finally:
            timers.timeEndPeriod(period)

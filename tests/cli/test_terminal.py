"""Words for people: reasons in one line, and nothing from outside that steers a terminal."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnet.cli.words import printable
from dicomnet.errors import ConnectionFailed, DicomnetError, NoAcceptedContext, ServiceRefusal
from dicomnet.exchange.reasons import reason


@given(st.text())
def test_what_is_printed_is_printable(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert (shown == text) == text.isprintable()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "a.dcm"),
            "a.dcm: no such file or directory",
        ),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"b\xff"), "b\udcff: permission denied"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space left on device"),
        (OSError("odd"), "odd"),
        (
            ConnectionFailed("host", 104, "connection refused"),
            "cannot connect to host port 104: connection refused",
        ),
        (ServiceRefusal(0xA700, "full"), "the peer answered with status 0xA700: full"),
        (
            NoAcceptedContext("1.2.840.10008.1.1"),
            "the peer accepted no presentation context for SOP class 1.2.840.10008.1.1 (Verification)",
        ),
        (
            NoAcceptedContext("1.2.3"),
            "the peer accepted no presentation context for SOP class 1.2.3",
        ),
    ],
)
def test_reasons(error: DicomnetError | OSError, words: str) -> None:
    assert reason(error) == words

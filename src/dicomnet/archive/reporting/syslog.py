"""Audit messages as syslog messages (RFC 5424), as PS3.15 sections A.6 and A.7 want them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from .messages import Origin

# Facility 10, security and authorization; severity 5, normal but significant, or 4, a warning.
_NOTICE, _WARNING = 10 * 8 + 5, 10 * 8 + 4
_MESSAGE_ID = "DICOM+RFC3881"
_NAME = "dicomnet"
# What HOSTNAME may have (section 6.2.4): printable ASCII.
_NOT_PRINTABLE = re.compile(r"[^!-~]")
# The greatest sequenceId (section 7.3.1).
_GREATEST = 2147483647


def syslog_message(content: bytes, origin: Origin, number: int, at: datetime, *, is_warning: bool) -> bytes:
    """A syslog message, without the framing of a transport.

    Parameters
    ----------
    content
        The audit message.
    origin
        Who tells.
    number
        Which message it is: who gets one twice, or misses one, sees that by its sequenceId.
    at
        When it happened.
    is_warning
        Whether it tells of a failure.
    """
    priority = _WARNING if is_warning else _NOTICE
    host = _NOT_PRINTABLE.sub("?", origin.host)[:255] or "-"
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    sequence = (number - 1) % _GREATEST + 1
    head = (
        f"<{priority}>1 {moment} {host} {_NAME} {origin.process} {_MESSAGE_ID}"
        f' [meta sequenceId="{sequence}"] '
    )
    # The mark says that it is UTF-8 (section 6.4).
    return head.encode("ascii") + b"\xef\xbb\xbf" + content


def framed(content: bytes) -> bytes:
    """A syslog message as the transport by TLS has it: its length stands before it (RFC 5425 section 4.3)."""
    return b"%d %s" % (len(content), content)

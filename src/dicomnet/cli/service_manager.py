"""What a service manager is told of a node: that it serves, reads its configuration again, or stops (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from time import monotonic_ns

from ..exchange.reasons import reason
from ..values import frozen

_log = logging.getLogger(__name__)

# How long a manager may take to accept a datagram, in seconds.
_PATIENCE = 5.0
# How long the end may take beyond the time that associations may drain, in seconds: workers end, the rest is filed.
_GRACE = 30.0


@frozen
class ServiceManager:
    """The service manager that has started this process, if one has: systemd with ``Type=notify``, or its like.

    Parameters
    ----------
    address
        Of the Unix datagram socket that it listens on, as the variable NOTIFY_SOCKET has it: a path, or an abstract
        name behind ``@``; empty if nobody wants to know.
    """

    address: str

    def is_ready(self, status: str) -> None:
        """Tell that the node serves, for the first time or with the configuration that it has read again.

        Parameters
        ----------
        status
            A line for those who ask the manager.
        """
        self._tell({"READY": "1", "STATUS": status})

    def reloads(self) -> None:
        """Tell that the configuration is being read again; `is_ready` has to follow."""
        self._tell({"RELOADING": "1", "MONOTONIC_USEC": str(monotonic_ns() // 1000)})

    def stops(self, drain: float, status: str) -> None:
        """Tell that the node ends, and have the manager wait for that.

        Parameters
        ----------
        drain
            How long associations may go on, in seconds.
        status
            A line for those who ask the manager.
        """
        microseconds = round((drain + _GRACE) * 1e6)
        self._tell({"STOPPING": "1", "STATUS": status, "EXTEND_TIMEOUT_USEC": str(microseconds)})

    def _tell(self, fields: Mapping[str, str]) -> None:
        if not self.address:
            return
        message = "".join(f"{name}={value}\n" for name, value in fields.items())
        # An abstract name begins with a NUL.
        address = f"\0{self.address[1:]}" if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as outlet:
                outlet.settimeout(_PATIENCE)
                outlet.sendto(message.encode(), address)
        except OSError as error:
            _log.warning(
                "the service manager at %s (NOTIFY_SOCKET) cannot be told %s: %s",
                self.address,
                next(iter(fields)),
                reason(error),
            )


def service_manager() -> ServiceManager:
    """The one that has started this process."""
    return ServiceManager(os.environ.get("NOTIFY_SOCKET", "") if hasattr(socket, "AF_UNIX") else "")

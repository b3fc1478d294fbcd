"""A storage SCP for a process of its own: each object that it takes is a line of a file before it is answered.

Run as ``python -m tests.faults.recording_scp PORT FILE``.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from dicomnet import AE, evt

from .objects import CT_IMAGE_STORAGE


def main(port: int, file: str) -> None:
    """Serve until the process is killed."""
    record = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def take(event: Any) -> int:
        os.write(record, f"{event.request.AffectedSOPInstanceUID}\n".encode())
        return 0

    def grant(event: Any) -> tuple[int, int]:
        return event.nr_invoked, event.nr_performed

    ae = AE("RECORDER")
    ae.add_supported_context(CT_IMAGE_STORAGE)
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, take), (evt.EVT_ASYNC_OPS, grant)])


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

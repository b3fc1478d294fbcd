"""pydcm's native storage server, for an interpreter that has pydcm and need not have anything of ours.

Arguments: ``PORT FOLDER``. It serves until SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from importlib import import_module


def main() -> None:
    """Receive into a folder, without Python for an object."""
    port, folder = sys.argv[1:]
    # Before there are threads, so that none of them gets it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    entity = import_module("pydcm.dimse").AE(ae_title="PYDCM")
    entity.start_server(("127.0.0.1", int(port)), block=False, store_dir=folder)
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()

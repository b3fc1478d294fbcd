"""Mends two races of pynetdicom 3.0, which fast peers lose for it and no test here is about.

Before a request its requestor stops the thread of the association (`_reactor_checkpoint.clear`) and waits until that is
marked as paused. The thread marks itself before it looks whether it has to wait, so it may run on for one round, and
takes a response that is there by then for a request. The caller then waits for its response until the time-out.

When its requestor has sent the request for an association, it looks whether it is still connected, and aborts if it is
not. A fast acceptor may have rejected by then and closed the connection: the association is aborted, and not rejected,
though the rejection waits to be taken.
"""

import functools
import sys
import threading
import time
from importlib.machinery import ModuleSpec, PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader, MetaPathFinder
else:
    # To import the bases takes as long as all the rest.
    Loader = MetaPathFinder = object


class Checkpoint(threading.Event):
    """The event of an association; cleared, its thread waits or has ended."""

    def __init__(self, association: Any) -> None:
        super().__init__()
        self._association = association
        self._entering = threading.Lock()
        self._is_in_a_round = False

    def wait(self, timeout: float | None = None) -> bool:
        self._is_in_a_round = False
        while True:
            with self._entering:
                if self.is_set():
                    self._is_in_a_round = True
                    return True
            super().wait(timeout)

    def clear(self) -> None:
        with self._entering:
            super().clear()
        association = self._association
        while (
            self._is_in_a_round and association.is_alive() and association is not threading.current_thread()
        ):
            time.sleep(0.0001)


def _mend_association(module: Any) -> None:
    plain = module.Association.__init__

    @functools.wraps(plain)
    def initialize(self: Any, *arguments: Any, **options: Any) -> None:
        plain(self, *arguments, **options)
        self._reactor_checkpoint = Checkpoint(self)
        self._reactor_checkpoint.set()

    module.Association.__init__ = initialize


def _mend_acse(module: Any) -> None:
    plain = module.ACSE.negotiate_association

    @functools.wraps(plain)
    def negotiate(self: Any) -> None:
        plain(self)
        if not (self.assoc.is_aborted and self.assoc.is_requestor):
            return
        waiting = self.dul.to_user_queue
        while not waiting.empty():
            found = waiting.get_nowait()
            if isinstance(found, module.A_ASSOCIATE) and found.result:
                self.acceptor.primitive = found
                self.assoc.is_aborted, self.assoc.is_rejected = False, True
                return

    module.ACSE.negotiate_association = negotiate


_MENDS = {"pynetdicom.association": _mend_association, "pynetdicom.acse": _mend_acse}


class _Mending(Loader):
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        _MENDS[module.__name__](module)


class _Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname in _MENDS else None
        if spec is not None:
            spec.loader = _Mending(spec.loader)
        return spec


def mend() -> None:
    """Mend it in this process, whether it has imported pynetdicom or will."""
    for name, each in _MENDS.items():
        if name in sys.modules:
            each(sys.modules[name])
    if not all(name in sys.modules for name in _MENDS):
        sys.meta_path.insert(0, _Finder())

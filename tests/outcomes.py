"""What comes of the same call in this package and in pynetdicom."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def outcome(package: str, act: Any) -> str:
    """What comes of it in a package, as text: a value, or the kind of exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return repr(act(importlib.import_module(package)))
        except Exception as error:  # noqa: BLE001
            return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins")

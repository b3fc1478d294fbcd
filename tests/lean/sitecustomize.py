"""Read by each interpreter that a test starts: it has no numpy, no decoders of pixels, and no requests.

pydicom imports them wherever they are installed, which is most of the time that such a process takes to start. A test
whose process needs them takes this folder out of its PYTHONPATH.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

from pynetdicom_reactor import mend  # type: ignore[import-not-found]


class _Lean(PathFinder):
    """Finds what there is but those packages."""

    # A name that is None in `sys.modules` would do for pydicom, but psycopg takes it for numpy.
    _absent = frozenset(
        ("gdcm", "jpeg_ls", "libjpeg", "numpy", "openjpeg", "PIL", "pylibjpeg", "requests", "rle")
    )

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return None if fullname in cls._absent else super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = _Lean
mend()

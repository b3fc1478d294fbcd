"""Read by each interpreter that a test starts: it has no numpy, no decoders of pixels, and no requests.

pydicom imports them wherever they are installed, which is most of the time that such a process takes to start. A test
whose process needs them takes this folder out of its PYTHONPATH.
"""

import sys

from pynetdicom_reactor import mend  # type: ignore[import-not-found]

for _package in ("gdcm", "jpeg_ls", "libjpeg", "numpy", "openjpeg", "PIL", "pylibjpeg", "requests", "rle"):
    sys.modules[_package] = None  # type: ignore[assignment]

mend()

"""What a process apart begins with: all that it may need is loaded before it gives up to open files."""

from __future__ import annotations

import codecs
from io import BytesIO

import numpy as np
from PIL import Image as Pictures
from PIL import Jpeg2KImagePlugin, MpoImagePlugin
from pydicom.charset import python_encoding

from .picture import answer

# The formats of Pillow that frames are decoded by; the other forty take a tenth of the start.
__all__ = ["Jpeg2KImagePlugin", "MpoImagePlugin", "answer"]

for _name in set(python_encoding.values()):
    codecs.lookup(_name)
Pictures.preinit()
# What a library loads when it is first used.
Pictures.fromarray(np.zeros((2, 2, 3), np.uint8)).resize((1, 1)).save(BytesIO(), "JPEG")

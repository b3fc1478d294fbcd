"""Pictures of the files that pydicom ships, against what pydicom and DCMTK make of them, pixel by pixel.

Where the standard leaves the rounding to the renderer, a grey level may be one off; all else is equal.
"""

from __future__ import annotations

import subprocess
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import data_store
import numpy as np
import pydicom
import pytest
from PIL import Image as Pictures
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import pixel_array
from tests.grids import grid
from tests.support import tool

from dicomnet.rendering.picture import render
from dicomnet.rendering.view import PNG, NotRendered, Reason, View, Window

Array = np.ndarray[Any, np.dtype[Any]]

_FOLDERS = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent)
FILES = {path.name: path for folder in _FOLDERS for path in sorted(folder.rglob("*.dcm"))}
# Of which there is no picture, by the reason.
WITHOUT = {
    **dict.fromkeys(("JPEG-lossy.dcm", "JPGExtended.dcm"), Reason.NO_DECODER),
    **dict.fromkeys(
        (
            "JPEG2000-embedded-sequence-delimiter.dcm",
            "MR_truncated.dcm",
            "badVR.dcm",
            "SC_rgb_jpeg.dcm",
            "meta_missing_tsyntax.dcm",
            "nested_priv_SQ.dcm",
        ),
        Reason.DAMAGED,
    ),
}
_NO_META = ("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "no_meta.dcm", "OT-PAL-8-face.dcm")
# Lossy, so that two libraries differ.
_LOSSY = {"1.2.840.10008.1.2.4.50": "pillow"}
# Large ones take long in several libraries.
_SLOW = frozenset(name for name in FILES if name.startswith(("RG1_", "RG3_", "MR2_", "693_J2KI", "US1_J2KR")))


def _has_pixels(path: Path) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return path.name not in _NO_META and "PixelData" in dcmread(path, force=True)


PICTURED = [name for name in FILES if name not in WITHOUT and name not in _SLOW and _has_pixels(FILES[name])]


def rendered(source: Path | Dataset, view: View) -> Array:
    """The pixels of a picture."""
    if isinstance(source, Dataset):
        file = BytesIO()
        source.save_as(file, enforce_file_format=True)
    else:
        file = BytesIO(source.read_bytes())
    media_type, content = render(file, view)
    assert media_type == PNG
    return np.asarray(Pictures.open(BytesIO(content)))


def _to_white(values: Array, low: float, high: float) -> Array:
    return np.clip((values.astype(np.float64) - low) * (255 / (high - low)), 0, 255)


def _of_frame(dataset: Dataset, number: int) -> Dataset:
    """With the attributes of its functional groups, where there are any, as those of its own."""
    flat = Dataset()
    flat.file_meta = dataset.file_meta
    flat.update(dataset)
    for keyword, place in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", number - 1),
    ):
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            groups = dataset.get(keyword)
            if groups and groups[place].get(macro):
                flat.update(groups[place].get(macro)[0])
    return flat


def expected(dataset: Dataset, number: int) -> Array:
    """What pydicom makes of a frame, as numbers from 0 to 255."""
    syntax = dataset.file_meta.TransferSyntaxUID
    plugin = _LOSSY.get(syntax, "")
    own = get_decoder(syntax)
    if not plugin and "gdcm" in own.available_plugins:
        # Another one than is used where there are several.
        plugin = "gdcm"
    values = pixel_array(dataset, index=number - 1, decoding_plugin=plugin)
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        colors = apply_color_lut(values, dataset)[..., :3]
        return _to_white(colors, 0, 255 if colors.dtype == np.uint8 or colors.max() <= 255 else 65535)
    if values.ndim == 3:
        return _to_white(values, 0, (1 << dataset.BitsStored) - 1)
    dataset = _of_frame(dataset, number)
    values = apply_modality_lut(values, dataset)
    if dataset.get("VOILUTSequence"):
        bits = dataset.VOILUTSequence[0].LUTDescriptor[2]
        grey = _to_white(apply_voi(values, dataset), 0, (1 << bits) - 1)
    elif dataset.get("WindowCenter") not in (None, ""):
        low, high = apply_windowing(np.array([-1e9, 1e9]), dataset)
        grey = _to_white(apply_windowing(values.astype(np.float64), dataset), low, high)
    elif dataset.BitsStored <= 8:
        low = -(1 << dataset.BitsStored - 1) if dataset.PixelRepresentation else 0
        grey = _to_white(values, low, low + (1 << dataset.BitsStored) - 1)
    else:
        used = values
        padding = dataset.get("PixelPaddingValue")
        if padding is not None:
            used = values[values != apply_modality_lut(np.array([padding]), dataset)[0]]
        high = max(used.max(), used.min() + 1)
        grey = _to_white(values, used.min(), high)
    return 255 - grey if photometric == "MONOCHROME1" else grey


@grid("name", PICTURED)
@pytest.mark.filterwarnings("ignore")
def test_pictures_are_those_of_pydicom(name: str) -> None:
    dataset = dcmread(FILES[name])
    frames = int(dataset.get("NumberOfFrames") or 1)
    for number in sorted({1, frames}):
        source: Path | Dataset = FILES[name]
        if "PixelAspectRatio" in dataset:
            source = dcmread(FILES[name])
            del source.PixelAspectRatio
        pixels = rendered(source, View(frame=number, media_types=[PNG]))
        wanted = expected(dataset, number)
        assert pixels.shape == wanted.shape
        assert np.abs(pixels - wanted).max() <= 1


@grid("name", WITHOUT)
@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_shown_is_refused_with_a_reason(name: str) -> None:
    with pytest.raises(NotRendered) as caught:
        rendered(FILES[name], View(media_types=[PNG]))
    assert caught.value.reason is WITHOUT[name]
    assert "\n" not in caught.value.cause


@grid("name", ["rtplan.dcm", "rtstruct.dcm", "test-SR.dcm", "waveform_ecg.dcm"])
@pytest.mark.filterwarnings("ignore")
def test_what_has_no_pixels_has_no_picture(name: str) -> None:
    with pytest.raises(NotRendered, match="has no pixels") as caught:
        rendered(FILES[name], View())
    assert caught.value.reason is Reason.NO_PIXELS


# Files that DCMTK's tools take, with a window each; those of JPEG go through its own decoders.
_BY_DCMTK = {
    "CT_small.dcm": "dcm2pnm",
    "MR_small.dcm": "dcm2pnm",
    "MR_small_bigendian.dcm": "dcm2pnm",
    "MR_small_RLE.dcm": "dcm2pnm",
    "emri_small.dcm": "dcm2pnm",
    "JPEG-LL.dcm": "dcmj2pnm",
    "693_UNCR.dcm": "dcm2pnm",
    "OT-PAL-8-face.dcm": "dcm2pnm",
    "examples_palette.dcm": "dcm2pnm",
    "SC_rgb_small_odd.dcm": "dcm2pnm",
    "examples_rgb_color.dcm": "dcm2pnm",
    "SC_ybr_full_uncompressed.dcm": "dcm2pnm",
}


@grid("name", _BY_DCMTK)
@pytest.mark.filterwarnings("ignore")
def test_pictures_are_those_of_dcmtk(name: str, tmp_path: Path) -> None:
    window = Window(300, 700)
    picture = tmp_path / "picture.pnm"
    given = ["+Ww", f"{window.center}", f"{window.width}", "+F", "1"]
    command = [tool(_BY_DCMTK[name]), *given, str(FILES[name]), str(picture)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    wanted = np.asarray(Pictures.open(picture)).astype(int)
    pixels = rendered(FILES[name], View(media_types=[PNG], window=window)).astype(int)
    assert pixels.shape == wanted.shape
    # It does not round when it converts colors.
    assert np.abs(pixels - wanted).max() <= (2 if "ybr" in name else 1)

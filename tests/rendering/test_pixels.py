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
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi, apply_windowing
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid
from tests.grids import grid
from tests.support import tool

from dicomnet.rendering.picture import render
from dicomnet.rendering.view import PNG, NotRendered, Reason, View, Window

Array = np.ndarray[Any, np.dtype[Any]]

# What compresses without a loss, each by a program of DCMTK's.
COMPRESSIONS = (("dcmcrle",), ("dcmcjpeg", "+e1"), ("dcmcjpls",))
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


def unused_bits(*, is_signed: bool, high: int, dirty: bool) -> Dataset:
    """An image of 12 bits in words: up to any bit, and others are set as by an overlay."""
    wanted = np.arange(32 * 40).reshape(32, 40) * 4096 // 1280 - 2048 * is_signed
    words = ((wanted & 0xFFF) << (high - 11)).astype("<u2")
    if dirty:
        words[::3] |= 0xFFFF ^ (0xFFF << (high - 11))
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.PatientID, dataset.PatientName, dataset.Modality = "1", "DOE^JANE", "OT"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.Rows, dataset.Columns = wanted.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, high
    dataset.PixelRepresentation = int(is_signed)
    dataset.WindowCenter, dataset.WindowWidth = int(np.mean(wanted)), 2000
    dataset.add_new("PixelData", "OW", words.tobytes())
    return dataset


UNUSED = [
    (is_signed, high, dirty) for is_signed in (False, True) for high in (11, 15) for dirty in (False, True)
]


@pytest.mark.parametrize("compression", COMPRESSIONS, ids=lambda command: command[0])
@pytest.mark.parametrize(("is_signed", "high", "dirty"), UNUSED)
def test_bits_that_are_not_used_do_not_show_when_they_are_compressed(
    compression: tuple[str, ...], is_signed: bool, high: int, dirty: bool, tmp_path: Path
) -> None:
    """Nothing is lost by these, so that the picture is that of what was compressed (PS3.5 section 8.1.1)."""
    program, *options = compression
    native = unused_bits(is_signed=is_signed, high=high, dirty=dirty)
    native.save_as(tmp_path / "native.dcm", enforce_file_format=True)
    subprocess.run(
        [tool(program), *options, str(tmp_path / "native.dcm"), str(tmp_path / "small.dcm")], check=True
    )
    view = View(media_types=[PNG])
    assert np.array_equal(rendered(tmp_path / "small.dcm", view), rendered(native, view))


def jpeg_of_adobe(colors: Array, transform: int) -> bytes:
    """A JPEG in YCbCr whose only segment for applications is Adobe's."""
    file = BytesIO()
    Pictures.fromarray(colors).save(file, "JPEG", quality=95, subsampling=0)
    content = file.getvalue()
    assert content[2:4] == b"\xff\xe0"
    rest = content[4 + int.from_bytes(content[4:6], "big") :]
    return b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([transform]) + rest


def in_jpeg(frame: bytes, photometric: str) -> Dataset:
    """An image of 32 × 48 pixels with such a frame."""
    dataset = unused_bits(is_signed=False, high=11, dirty=False)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 32, 48, 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.add_new("PixelData", "OB", encapsulate([frame]))
    dataset["PixelData"].is_undefined_length = True
    return dataset


STRIPES = np.repeat(
    np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)[None], [32], axis=0
).repeat(16, axis=1)


@pytest.mark.parametrize(
    ("photometric", "transform"), [("YBR_FULL_422", 1), ("YBR_FULL_422", 0), ("YBR_FULL", 1), ("RGB", 1)]
)
def test_colors_that_adobe_tells_of_are_converted_once(photometric: str, transform: int) -> None:
    """Pillow converts them where the segment says YCbCr, which pydicom took for YCbCr still: red became green."""
    dataset = in_jpeg(jpeg_of_adobe(STRIPES, transform), photometric)
    found = rendered(dataset, View(media_types=[PNG])).astype(int)
    assert np.abs(found - STRIPES).max() < 20


@pytest.mark.parametrize("order", [[3, 2, 1, 0], [0, 0, 0, 0], [1, 2, 3, 3]])
def test_a_wrong_offset_table_does_not_change_the_frames(order: list[int]) -> None:
    """Whoever asks for frame 2 has the same one as a picture and as it is stored, whatever the table says."""
    frames = [np.full((8, 8), 40 + 50 * number, np.uint8) for number in range(4)]
    dataset = in_jpeg(b"to come", "MONOCHROME2")
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel, dataset.NumberOfFrames = 1, 4
    del dataset.PlanarConfiguration, dataset.WindowCenter, dataset.WindowWidth
    codestreams = []
    for frame in frames:
        file = BytesIO()
        Pictures.fromarray(frame).save(file, "JPEG", quality=100)
        codestreams.append(file.getvalue())
    content = bytearray(encapsulate(codestreams))
    offsets = np.frombuffer(bytes(content[8:24]), "<u4")
    content[8:24] = offsets[order].tobytes()
    dataset["PixelData"].value = bytes(content)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    for number, frame in enumerate(frames, 1):
        found = rendered(dataset, View(frame=number, media_types=[PNG]))
        assert np.abs(found.astype(int) - frame).max() <= 2, number


def test_an_empty_frame_is_damaged() -> None:
    dataset = in_jpeg(b"to come", "RGB")
    dataset["PixelData"].value = b"\xfe\xff\x00\xe0" + bytes(4)
    with pytest.raises(NotRendered) as refused:
        rendered(dataset, View())
    assert refused.value.reason is Reason.DAMAGED

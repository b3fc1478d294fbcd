"""Windows, viewports, and made-up images of all kinds: against the standard's formulas, numpy's slices and pydicom."""

from __future__ import annotations

from io import BytesIO
from itertools import product
from math import exp
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pictures
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from tests.grids import grid
from tests.rendering.test_pixels import FILES, Array, rendered

from dicomnet.rendering.image import Image, _known_attributes
from dicomnet.rendering.picture import frame_pixels, render
from dicomnet.rendering.png import png
from dicomnet.rendering.view import (
    JPEG,
    PDF,
    PNG,
    PRESETS,
    Function,
    NotRendered,
    Reason,
    Shown,
    Source,
    View,
    Viewport,
    Window,
    quality_of,
)

_RANDOM = np.random.default_rng(7)


def image(pixels: Array, *, big_endian: bool = False, **values: Any) -> Dataset:
    """An image of these stored values: rows × columns, or rows × columns × 3."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big_endian else ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    data = pixels.astype(pixels.dtype.newbyteorder(">" if big_endian else "<")).tobytes()
    data += bytes(len(data) % 2)
    if big_endian and pixels.dtype.itemsize == 1:
        data = np.frombuffer(data, "u2").byteswap().tobytes()
    if pixels.dtype.kind == "f":
        setattr(dataset, {4: "FloatPixelData", 8: "DoubleFloatPixelData"}[pixels.dtype.itemsize], data)
    else:
        dataset.add_new("PixelData", "OW", data)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def shown(dataset: Dataset, **view: Any) -> Array:
    return rendered(dataset, View(media_types=[PNG], **view)).astype(int)


def by_the_standard(value: float, window: Window) -> float:
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, as they stand there, for 0 to 255."""
    x, c, w = value, window.center, window.width
    if window.function is Function.SIGMOID:
        return 255 / (1 + exp(min(-4 * (x - c) / w, 700)))
    if window.function is Function.LINEAR_EXACT:
        if x <= c - w / 2:
            return 0
        return 255 if x > c + w / 2 else ((x - c) / w + 0.5) * 255
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    return 255 if x > c - 0.5 + (w - 1) / 2 else ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


_WINDOWS = [
    Window(center, width, function)
    for function in Function
    for center, width in ((50, 100), (0.5, 1), (-20.25, 333.3), (128, 256), (40, 2), (10000, 30000))
]


@grid("window", _WINDOWS)
def test_a_window_is_the_one_of_the_standard(window: Window) -> None:
    values = np.arange(-200, 320, dtype=np.int16).reshape(20, 26)
    pixels = shown(image(values), window=window)
    wanted = np.vectorize(lambda value: by_the_standard(value, window), otypes=[float])(values)
    assert np.abs(pixels - wanted).max() <= 0.5 + 1e-9


@grid(
    "dtype, stored, high, big_endian",
    [
        (dtype, stored, high, big)
        for dtype, depths in (
            ("u1", ((8, 7), (5, 4), (5, 6))),
            ("i1", ((8, 7), (5, 4))),
            ("u2", ((16, 15), (12, 11), (12, 15), (10, 13))),
            ("i2", ((16, 15), (12, 11), (12, 15))),
            ("u4", ((32, 31), (20, 19))),
            ("i4", ((32, 31), (20, 24))),
        )
        for (stored, high), big in product(depths, (False, True))
    ],
)
def test_only_the_bits_that_are_stored_count(dtype: str, stored: int, high: int, big_endian: bool) -> None:
    """Others may have an overlay (PS3.5 section 8.1.1)."""
    kind = np.dtype(dtype)
    low = -(1 << stored - 1) if kind.kind == "i" else 0
    values = _RANDOM.integers(low, low + (1 << stored), (6, 7), dtype=np.int64)
    size = 8 * kind.itemsize
    mask = ((1 << stored) - 1) << (high + 1 - stored)
    noise = _RANDOM.integers(0, 1 << size, (6, 7), dtype=np.uint64).astype(np.int64) & ~mask
    raw = ((values << (high + 1 - stored)) & mask) | noise
    pixels = (raw & ((1 << size) - 1)).astype(f"u{kind.itemsize}").view(kind)
    window = Window(low + (1 << stored) / 2, 1 << stored, Function.LINEAR_EXACT)
    wanted = (values - low) / (1 << stored) * 255
    dataset = image(pixels, big_endian=big_endian, BitsStored=stored, HighBit=high)
    assert np.abs(shown(dataset, window=window) - wanted).max() <= 0.5 + 1e-6


@grid(
    "dtype, slope, intercept",
    [("f4", 1, 0), ("f8", 1, 0), ("u2", 0.5, -1024), ("i2", -2, 7), ("i4", 1e-3, 0)],
)
def test_without_a_window_the_range_of_the_values_is_shown(
    dtype: str, slope: float, intercept: float
) -> None:
    values = (_RANDOM.random((5, 4)) * 1000 - (0 if dtype == "u2" else 500)).astype(dtype)
    dataset = image(values, RescaleSlope=slope, RescaleIntercept=intercept)
    after = values.astype(float) * slope + intercept
    wanted = (after - after.min()) / (after.max() - after.min()) * 255
    assert np.abs(shown(dataset) - wanted).max() <= 0.5 + 1e-6


def test_padding_does_not_count_for_the_range() -> None:
    values = np.array([[-2000, 0, 50], [100, -2000, -1990]], np.int16)
    assert shown(image(values, PixelPaddingValue=-2000))[0, 1] > 200
    padded = image(values, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert shown(padded).tolist() == [[0, 0, 128], [255, 0, 0]]


def test_not_a_number_is_no_value() -> None:
    values = np.array([[np.nan, 1, 2], [3, np.inf, 5]], np.float32)
    assert shown(image(values))[0, 1:].tolist() == [0, 64]


@grid(
    "photometric, shape, is_inverse",
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME2", "INVERSE", True),
    ],
)
def test_white_is_what_the_file_says(photometric: str, shape: str | None, is_inverse: bool) -> None:
    dataset = image(np.array([[0, 255]], np.uint8), PhotometricInterpretation=photometric)
    if shape is not None:
        dataset.PresentationLUTShape = shape
    assert shown(dataset).tolist() == [[255, 0] if is_inverse else [0, 255]]


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def test_each_frame_has_its_own_window_and_rescaling() -> None:
    frames = np.array([[[0, 100]], [[0, 100]]], np.uint16)
    dataset = image(frames[0], NumberOfFrames=2, PixelData=frames.tobytes())
    dataset.WindowCenter, dataset.WindowWidth = 1000, 1
    dataset.SharedFunctionalGroupsSequence = [
        _item(PixelValueTransformationSequence=[_item(RescaleSlope=2, RescaleIntercept=0)])
    ]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(
            FrameVOILUTSequence=[_item(WindowCenter=center, WindowWidth=100, VOILUTFunction="LINEAR_EXACT")]
        )
        for center in (150, 250)
    ]
    assert shown(dataset, frame=1).tolist() == [[0, 255]]
    assert shown(dataset, frame=2).tolist() == [[0, 0]]


@grid(
    "asked, wanted",
    [
        ("bone", PRESETS["bone"]),
        ("Lung", PRESETS["lung"]),
        ("wide", Window(7, 500)),
        ("narrow", Window(9, 3)),
    ],
)
def test_a_window_has_a_name(asked: str, wanted: Window) -> None:
    values = np.arange(-1000, 1000, dtype=np.int16).reshape(40, 50)
    dataset = image(
        values, WindowCenter=[7, 9], WindowWidth=[500, 3], WindowCenterWidthExplanation=["WIDE", "NARROW"]
    )
    assert (shown(dataset, window=asked) == shown(dataset, window=wanted)).all()
    assert (shown(dataset) == shown(dataset, window=Window(7, 500))).all()
    with pytest.raises(NotRendered, match="there is no window 'unheard'; there are abdomen, bone,"):
        shown(dataset, window="unheard")


@grid("center, width", [(5, 0), (5, -3), ("", ""), (5, "")])
def test_a_window_of_a_file_that_cannot_be_is_none(center: object, width: object) -> None:
    values = np.array([[0, 500, 1000]], np.uint16)
    assert shown(image(values, WindowCenter=center, WindowWidth=width)).tolist() == [[0, 128, 255]]


def test_a_linear_window_of_less_than_one_is_taken_for_an_exact_one() -> None:
    values = np.array([[0, 0.25, 0.5]], np.float32)
    assert shown(image(values, WindowCenter=0.25, WindowWidth=0.5)).tolist() == [[0, 128, 255]]


@grid("rows, columns", [(3, 5), (5, 3), (1, 1), (7, 9)])
def test_one_bit_a_pixel_in_frames_that_begin_inside_of_a_byte(rows: int, columns: int) -> None:
    frames = _RANDOM.integers(0, 2, (9, rows, columns), dtype=np.uint8)
    packed = np.packbits(frames.reshape(-1), bitorder="little").tobytes()
    for big_endian in (False, True):
        data = packed + bytes(len(packed) % 2)
        if big_endian:
            data = np.frombuffer(data, "u2").byteswap().tobytes()
        dataset = image(frames[0], big_endian=big_endian, NumberOfFrames=9)
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        dataset.PixelData = data
        for number, frame in enumerate(frames, 1):
            assert (shown(dataset, frame=number) == frame * 255).all()


@grid("photometric, planar, bits", list(product(("RGB", "YBR_FULL"), (0, 1), (8, 16))))
def test_colors(photometric: str, planar: int, bits: int) -> None:
    values = _RANDOM.integers(0, 1 << bits, (7, 6, 3), dtype=np.int64).astype(f"u{bits // 8}")
    stored = np.ascontiguousarray(values.transpose(2, 0, 1)) if planar else values
    dataset = image(values, PhotometricInterpretation=photometric, PlanarConfiguration=planar)
    dataset.PixelData = stored.tobytes()
    wanted = np.floor(values / ((1 << bits) - 1) * 255 + 0.5).astype(np.uint8)
    if photometric == "YBR_FULL":
        wanted = convert_color_space(wanted, "YBR_FULL", "RGB")
    assert np.abs(shown(dataset) - wanted.astype(int)).max() <= (1 if photometric == "YBR_FULL" else 0)


def test_partial_range_has_black_at_16_and_white_at_235() -> None:
    """PS3.3 C.7.6.3.1.2, with the colors in pairs."""
    dataset = image(np.zeros((1, 4, 3), np.uint8), PhotometricInterpretation="YBR_PARTIAL_422")
    dataset.PixelData = bytes((16, 235, 128, 128, 81, 81, 90, 240))
    assert np.abs(shown(dataset) - [[[0] * 3, [255] * 3, [254, 0, 0], [254, 0, 0]]]).max() <= 1


@grid("photometric", ["HSV", "CMYK", "YBR_NONSENSE"])
def test_what_is_not_known_is_not_guessed(photometric: str) -> None:
    with pytest.raises(NotRendered, match=f"images in {photometric} are not shown") as caught:
        shown(image(np.zeros((2, 2, 3), np.uint8), PhotometricInterpretation=photometric))
    assert caught.value.reason is Reason.NO_DECODER


_SEGMENTS = [0, 3, 10, 20, 65000, 1, 4, 100, 0, 2, 7, 8, 2, 2, 0, 0, 1, 3, 60000]


@grid("first, dtype, is_segmented", list(product((0, 3), ("u1", "u2"), (False, True))))
def test_a_palette(first: int, dtype: str, is_segmented: bool) -> None:
    values = _RANDOM.integers(0, 24, (5, 6), dtype=np.int64).astype(dtype)
    dataset = image(values, PhotometricInterpretation="PALETTE COLOR")
    for index, color in enumerate(("Red", "Green", "Blue")):
        entries = 19 if is_segmented else 12
        setattr(dataset, f"{color}PaletteColorLookupTableDescriptor", [entries, first, 16])
        words = [*_SEGMENTS] if is_segmented else _RANDOM.integers(0, 1 << 16, 12).tolist()
        words[2] += index
        data = b"".join(word.to_bytes(2, "little") for word in words)
        name = f"{color}PaletteColorLookupTableData"
        setattr(dataset, f"Segmented{name}" if is_segmented else name, data)
    wanted = apply_color_lut(values, dataset) / 65535 * 255
    assert np.abs(shown(dataset) - wanted).max() <= 1


def test_a_table_of_the_file_goes_before_its_window_and_a_window_of_the_request_before_both() -> None:
    values = np.array([[0, 1, 2, 3, 4]], np.uint16)
    table = _item(LUTDescriptor=[4, 1, 12])
    table.add_new("LUTData", "US", [4095, 0, 4095, 0])
    dataset = image(values, VOILUTSequence=[table], WindowCenter=2, WindowWidth=4)
    assert shown(dataset).tolist() == [[255, 255, 0, 255, 0]]
    exact = Window(2, 4, Function.LINEAR_EXACT)
    assert shown(dataset, window=exact).tolist() == [[0, 64, 128, 191, 255]]


def test_the_window_of_a_table_is_as_wide_as_the_table() -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [100, 50, 8], bytes(range(100))
    file = BytesIO()
    image(np.array([[50, 149]], np.uint16), VOILUTSequence=[table]).save_as(file, enforce_file_format=True)
    shown = frame_pixels(Image(file), 1, View())[1]
    assert shown == Shown(Window(100, 100), Source.TABLE)
    assert Shown.from_json(shown.to_json()) == shown


@pytest.mark.parametrize(
    "answer",
    [
        *("40,400", [40, 400, "LINEAR"], ["40", 400, "LINEAR", "image"], [40, 0, "LINEAR", "image"]),
        *([40, 400, "LINEAR", "a\r\nb: c"], [float("nan"), 400, "LINEAR", "image"]),
    ],
)
def test_a_window_that_a_process_answers_is_one(answer: object) -> None:
    """It goes into a header, and the process has read what strangers wrote."""
    with pytest.raises(ValueError, match=r"window|numbers|valid"):
        Shown.from_json(answer)


def test_a_modality_table_maps_signed_values() -> None:
    values = np.array([[-3, -2, -1, 0, 9]], np.int16)
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [3, -2, 16])
    table.add_new("LUTData", "OW", np.array([5, 10, 25], "<u2").tobytes())
    table.ModalityLUTType = "US"
    dataset = image(values, ModalityLUTSequence=[table])
    assert shown(dataset).tolist() == [[0, 0, 64, 255, 255]]


# Viewports: of an image of 8 columns and 6 rows.
_VALUES = _RANDOM.integers(0, 256, (6, 8), dtype=np.int64).astype(np.uint8)


@grid(
    "text, wanted",
    [
        ("8,6", _VALUES),
        ("3,2,1,2,3,2", _VALUES[2:4, 1:4]),
        ("3,2,-1,-2,3,2", _VALUES[2:4, 1:4]),
        ("3,2,1,2,-3,2", _VALUES[2:4, 3:0:-1]),
        ("3,2,1,2,3,-2", _VALUES[3:1:-1, 1:4]),
        ("8,6,,,-8,-6", _VALUES[::-1, ::-1]),
        ("3,4,5,2", _VALUES[2:, 5:]),
        ("3,4,5,2,100,100", _VALUES[2:, 5:]),
    ],
)
def test_a_viewport_cuts_out_and_flips(text: str, wanted: Array) -> None:
    assert (shown(image(_VALUES), viewport=Viewport.of(text)) == wanted).all()


@grid(
    "text, size",
    [
        ("16,12", (16, 12)),
        ("16,16", (16, 12)),
        ("100,12", (16, 12)),
        ("4,4", (4, 3)),
        ("1,1", (1, 1)),
        ("4,100,0,0,2,6", (4, 12)),
        ("64,64,2,2,4,2", (64, 32)),
    ],
)
def test_a_picture_fits_into_the_viewport_and_keeps_its_proportions(text: str, size: tuple[int, int]) -> None:
    pixels = shown(image(_VALUES), viewport=Viewport.of(text))
    assert pixels.shape == size[::-1]


def test_a_viewport_scales() -> None:
    blocks = np.kron(_VALUES, np.ones((4, 4), np.uint8))
    small = shown(image(blocks), viewport=Viewport(8, 6))
    # What lies beside a pixel counts a little.
    assert np.abs(np.corrcoef(small.ravel(), _VALUES.ravel())[0, 1]) > 0.9
    flat = np.full((64, 32), 77, np.uint8)
    assert (shown(image(flat), viewport=Viewport(11, 17)) == 77).all()


@grid(
    "values, shape",
    [
        ({"PixelAspectRatio": [2, 1]}, (12, 8)),
        ({"PixelAspectRatio": [1, 2]}, (6, 16)),
        ({"PixelAspectRatio": [1, 1], "PixelSpacing": [2, 1]}, (6, 8)),
        ({"PixelSpacing": [3, 1.5]}, (12, 8)),
        ({"ImagerPixelSpacing": [0.1, 0.2]}, (6, 16)),
        ({"PixelSpacing": [0.5, 0.501]}, (6, 8)),
        ({"PixelSpacing": [1000, 1]}, (6, 8)),
        ({"PixelAspectRatio": [0, 0]}, (6, 8)),
    ],
)
def test_pixels_of_a_picture_are_square(values: dict[str, Any], shape: tuple[int, int]) -> None:
    assert shown(image(_VALUES, **values)).shape == shape


def test_each_frame_has_its_own_shape_of_pixels() -> None:
    """All had that of the first frame, so that others were too long or too wide."""
    dataset = image(_VALUES, NumberOfFrames=2, PixelData=2 * _VALUES.tobytes())
    dataset.PerFrameFunctionalGroupsSequence = [
        _item(PixelMeasuresSequence=[_item(PixelSpacing=spacing)]) for spacing in ([1, 1], [2, 1])
    ]
    assert [shown(dataset, frame=number).shape for number in (1, 2)] == [(6, 8), (12, 8)]


def test_a_viewport_knows_of_square_pixels() -> None:
    dataset = image(_VALUES, PixelAspectRatio=[2, 1])
    assert shown(dataset, viewport=Viewport(24, 24)).shape == (24, 16)


def test_a_region_outside_of_the_image() -> None:
    with pytest.raises(NotRendered, match="lies outside of the image of 8 x 6") as caught:
        shown(image(_VALUES), viewport=Viewport.of("8,8,8,0"))
    assert caught.value.reason is Reason.BAD_VIEW


def test_a_picture_that_would_be_too_large() -> None:
    with pytest.raises(NotRendered) as caught:
        shown(image(_VALUES), viewport=Viewport.of("16384,16384"))
    assert caught.value.reason is Reason.TOO_MUCH


@grid(
    "make, text, words",
    [
        (Window.of, "1", "center,width,function"),
        (Window.of, "1,2,3,4", "center,width,function"),
        (Window.of, "1,2,cubic", "linear, linear-exact, sigmoid"),
        (Window.of, "a,2", "'a' in the window is not a number"),
        (Window.of, "nan,2", "not a number"),
        (Window.of, "1,1e999", "not a number"),
        (Window.of, "1,0.5", "must be 1 or more"),
        (Window.of, "1,0,sigmoid", "more than 0"),
        (Window.of, "1,-1,linear-exact", "more than 0"),
        (Viewport.of, "", "vw,vh"),
        (Viewport.of, "1", "vw,vh"),
        (Viewport.of, "1.5,2", "vw,vh"),
        (Viewport.of, "-1,2", "vw,vh"),
        (Viewport.of, "0,2", "from 1 to 16384"),
        (Viewport.of, "99999999999,2", "from 1 to 16384"),
        (Viewport.of, "1,2,3,4,5,6,7", "vw,vh"),
        (Viewport.of, "1,2,x", "not a number"),
        (Viewport.of, "1,2,0,0,0,1", "must not be empty"),
        (Viewport.of, "1,2,0,0,inf", "not a number"),
        (quality_of, "0", "from 1 to 100"),
        (quality_of, "101", "from 1 to 100"),
        (quality_of, "9" * 5000, "from 1 to 100"),
        (quality_of, "high", "from 1 to 100"),
    ],
)
def test_what_cannot_be_asked_for_is_told(make: Any, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make(text)


@grid(
    "text, window",
    [
        ("40,400", Window(40, 400)),
        ("-600.5, 1500 ,linear", Window(-600.5, 1500)),
        ("1e2,2,linear-exact", Window(100, 2, Function.LINEAR_EXACT)),
        ("0,0.5,sigmoid", Window(0, 0.5, Function.SIGMOID)),
    ],
)
def test_windows_of_requests(text: str, window: Window) -> None:
    assert Window.of(text) == window


@grid(
    "view",
    [
        View(),
        View(frame=None, media_types=[PDF], window="bone"),
        View(window=Window(1, 2, Function.SIGMOID), viewport=Viewport(1, 2, 3, 4, -5, None), quality=3),
    ],
)
def test_a_view_goes_to_another_process_and_is_the_same(view: View) -> None:
    assert View.from_json(view.to_json()).to_json() == view.to_json()
    assert View.from_json(view.to_json()).window == view.window
    assert View.from_json(view.to_json()).viewport == view.viewport


def test_quality_is_size_and_the_representative_frame_is_named() -> None:
    content = FILES["CT_small.dcm"].read_bytes()
    sizes = [len(render(BytesIO(content), View(quality=quality))[1]) for quality in (1, 30, 90, 100)]
    assert sizes == sorted(sizes)
    frames = np.zeros((3, 2, 2), np.uint8)
    frames[1] = 100
    dataset = image(frames[0], NumberOfFrames=3, PixelData=frames.tobytes())
    assert shown(dataset, frame=None).max() == 100
    dataset.RepresentativeFrameNumber = 3
    assert shown(dataset, frame=None).max() == 0


@grid(
    "values",
    [
        {"WindowWidth": 256},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"BitsStored": 9, "HighBit": 8},
        {"RescaleSlope": 2},
        {"PixelAspectRatio": ["2", "1"]},
    ],
)
def test_what_is_kept_of_a_header_is_that_headers_only(values: dict[str, Any]) -> None:
    """Each image is shown as by itself, whatever was shown before it."""
    own = image(np.arange(512, dtype="<u2").reshape(16, 32) * 8, WindowCenter=512, WindowWidth=1024)
    other = image(np.arange(512, dtype="<u2").reshape(16, 32) * 8, WindowCenter=512, WindowWidth=1024)
    for keyword, value in values.items():
        setattr(other, keyword, value)
    alone = []
    for each in (own, other):
        _known_attributes.cache_clear()
        alone.append(rendered(each, View(media_types=[PNG])).tobytes())
    assert alone[0] != alone[1]
    assert [rendered(each, View(media_types=[PNG])).tobytes() for each in (own, other, own)] == [
        *alone,
        alone[0],
    ]


@grid("shape", [(1, 1), (1, 1, 3), (7, 5), (5, 7, 3), (1, 300), (300, 1, 3)])
def test_a_png_has_the_pixels(shape: tuple[int, ...]) -> None:
    pixels = _RANDOM.integers(0, 256, shape, dtype=np.int64).astype(np.uint8)
    picture = Pictures.open(BytesIO(png(pixels)))
    assert picture.mode == ("L" if len(shape) == 2 else "RGB")
    assert (np.asarray(picture) == pixels).all()


@grid("media_types, found", [((PNG, JPEG), "PNG"), ((JPEG, PNG), "JPEG"), ((PDF, PNG), "PNG")])
def test_the_first_media_type_that_can_be(media_types: tuple[str, ...], found: str) -> None:
    _, content = render(BytesIO(FILES["CT_small.dcm"].read_bytes()), View(media_types=media_types))
    assert Pictures.open(BytesIO(content)).format == found


def test_a_document_is_rendered_as_what_it_is() -> None:
    dataset = image(_VALUES)
    del dataset.PixelData
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = b"%PDF-1.4 odd\0"
    dataset.EncapsulatedDocumentLength = 12
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    assert render(file, View(media_types=[JPEG, PDF])) == (PDF, b"%PDF-1.4 odd")
    with pytest.raises(NotRendered, match="rendered as application/pdf only"):
        render(file, View())

"""The helpers against pynetdicom's: same signatures, same results, same types of exceptions."""

from __future__ import annotations

import contextvars
import inspect
import logging
import threading
import warnings
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pynetdicom._config
import pynetdicom.utils
import pytest
from pydicom.uid import UID
from tests.grids import grid

from dicomnet import _config
from dicomnet.pynetdicom import utils

if TYPE_CHECKING:
    from collections.abc import Callable

FUNCTIONS = [
    "decode_bytes",
    "make_target",
    "pretty_bytes",
    "set_ae",
    "set_timer_resolution",
    "set_uid",
    "validate_uid",
]
FLAGS = {
    "CODECS": ("ascii",),
    "ENFORCE_UID_CONFORMANCE": False,
    "LOG_HANDLER_LEVEL": "standard",
    "LOG_REQUEST_IDENTIFIERS": True,
    "LOG_RESPONSE_IDENTIFIERS": True,
    "PASS_CONTEXTVARS": False,
    "STORE_RECV_CHUNKED_DATASET": False,
    "STORE_SEND_CHUNKED_DATASET": False,
    "UNRESTRICTED_STORAGE_SERVICE": False,
    "USE_SHORT_DIMSE_AET": True,
    "WINDOWS_TIMER_RESOLUTION": 1,
}
UIDS: list[Any] = [
    "",
    b"",
    " ",
    "1.2.3",
    b"1.2.3",
    "1.2.03",
    "abc",
    " 1.2 ",
    "1" * 64,
    "1" * 65,
    b"\xff",
    "\xff",
    UID("1.2"),
    None,
    5,
    1.0,
]
UIDS += [bytearray(b"1.2"), [], "1.2\0", "1.2."]
TITLES: list[Any] = [
    "",
    " ",
    "  ",
    "\t",
    "AET",
    " AET ",
    "A" * 16,
    "A" * 17,
    "é",
    "A\\B",
    "A\nB",
    "\x7f",
    None,
    5,
    b"AET",
    " " * 17,
    [],
]


def outcome(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[str, object]:
    """What a call gives, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001
            return "raises", type(error)
        return type(value).__name__, value


def set_both(monkeypatch: pytest.MonkeyPatch, flag: str, value: object) -> None:
    monkeypatch.setattr(_config, flag, value)
    monkeypatch.setattr(pynetdicom._config, flag, value)


def test_flags_have_the_documented_names_and_defaults() -> None:
    for flag, default in FLAGS.items():
        assert getattr(_config, flag) == default == getattr(pynetdicom._config, flag), flag
        assert type(getattr(_config, flag)) is type(default)
    assert _config.VALIDATORS.keys() == pynetdicom._config.VALIDATORS.keys() == {"AE", "UI"}
    public = {name for name in vars(_config) if name.isupper() and name != "TYPE_CHECKING"}
    # The one flag of our own lets patients' data into the log.
    assert public == {*FLAGS, "VALIDATORS", "LOG_IDENTIFIERS"}
    assert _config.LOG_IDENTIFIERS is False


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)) for module in (utils, pynetdicom.utils))
    described = [[(p.name, p.default, p.kind) for p in s.parameters.values()] for s in (ours, theirs)]
    assert described[0] == described[1]


@grid("enforce", [False, True])
@grid("options", [{}, {"allow_empty": False}, {"allow_none": False}, {"validate": False}])
@grid("value", UIDS)
def test_set_uid(
    monkeypatch: pytest.MonkeyPatch, value: Any, options: dict[str, bool], enforce: bool
) -> None:
    set_both(monkeypatch, "ENFORCE_UID_CONFORMANCE", enforce)
    ours = outcome(utils.set_uid, value, "X", **options)
    assert ours == outcome(pynetdicom.utils.set_uid, value, "X", **options)


@grid("allow_empty", [False, True])
@grid("allow_none", [False, True])
@grid("value", TITLES)
def test_set_ae(value: Any, allow_empty: bool, allow_none: bool) -> None:
    ours = outcome(utils.set_ae, value, "X", allow_empty, allow_none)
    assert ours == outcome(pynetdicom.utils.set_ae, value, "X", allow_empty, allow_none)


@grid("codecs", [("ascii",), ("ascii", "utf-8"), ("shift_jis", "utf-8"), (), ("nonesuch",)])
@grid("value", [b"", b"abc", b"a \0", "é".encode(), b"\x83\x65", b"\xff", bytearray(b"a"), "a", None])
def test_decode_bytes(monkeypatch: pytest.MonkeyPatch, value: Any, codecs: tuple[str, ...]) -> None:
    set_both(monkeypatch, "CODECS", codecs)
    assert outcome(utils.decode_bytes, value) == outcome(pynetdicom.utils.decode_bytes, value)


@pytest.mark.parametrize("enforce", [False, True])
@pytest.mark.parametrize("value", ["", "1.2", "1.2.03", "abc", "1" * 64, "1" * 65])
def test_validate_uid(monkeypatch: pytest.MonkeyPatch, value: str, enforce: bool) -> None:
    set_both(monkeypatch, "ENFORCE_UID_CONFORMANCE", enforce)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uid = UID(value)
    assert outcome(utils.validate_uid, uid) == outcome(pynetdicom.utils.validate_uid, uid)


@pytest.mark.parametrize("value", TITLES[:12], ids=repr)
def test_default_validator_of_ae_titles(value: str) -> None:
    assert _config.VALIDATORS["AE"](value)[0] == pynetdicom._config.VALIDATORS["AE"](value)[0]


@pytest.mark.parametrize("verdict", [(True, ""), (False, "the moon is full")])
def test_validators_are_looked_up_when_used(
    monkeypatch: pytest.MonkeyPatch, verdict: tuple[bool, str]
) -> None:
    for vr, function, value in (("AE", utils.set_ae, "é"), ("UI", utils.set_uid, "1" * 70)):
        for config in (_config, pynetdicom._config):
            monkeypatch.setitem(config.VALIDATORS, vr, lambda value: verdict)
        theirs = outcome(getattr(pynetdicom.utils, function.__name__), value, "X")
        assert outcome(function, value, "X") == theirs


@pytest.mark.parametrize(("vr", "function"), [("AE", utils.set_ae), ("UI", utils.set_uid)])
def test_the_reason_of_a_validator_is_told(
    monkeypatch: pytest.MonkeyPatch, vr: str, function: Callable[[str, str], object]
) -> None:
    monkeypatch.setitem(_config.VALIDATORS, vr, lambda value: (False, "the moon is full"))
    with pytest.raises(ValueError, match=r"Some Name cannot be .*: the moon is full"):
        function("1.2", "Some Name")


def test_a_uid_that_does_not_conform_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        utils.set_uid("1.2.03", "Some UID")
    logged = [record for record in caplog.records if record.name == "dicomnet.pynetdicom.utils"]
    assert [(record.levelno, "Some UID" in record.message) for record in logged] == [(logging.WARNING, True)]
    caplog.clear()
    utils.set_uid("1.2.3", "Some UID")
    assert not caplog.records


DATA = bytes(range(256)) * 3


@pytest.mark.parametrize("data", [b"", DATA[:1], DATA[:16], DATA[:17], DATA[:512], BytesIO(DATA[:20])])
@pytest.mark.parametrize(
    "options",
    [{}, {"prefix": "<", "delimiter": ",", "suffix": ">"}, {"items_per_line": 4}, {"max_size": None}],
    ids=str,
)
def test_pretty_bytes(data: Any, options: dict[str, Any]) -> None:
    assert utils.pretty_bytes(data, **options) == pynetdicom.utils.pretty_bytes(data, **options)


def test_pretty_bytes_says_what_it_leaves_out() -> None:
    ours = utils.pretty_bytes(DATA, prefix="<", suffix=">", max_size=32)
    assert "32 of 768 bytes" in ours[0]
    assert ours[1:] == pynetdicom.utils.pretty_bytes(DATA[:32], prefix="<", suffix=">")
    assert utils.pretty_bytes(DATA, max_size=20)[1:] == pynetdicom.utils.pretty_bytes(DATA[:20])
    assert len(utils.pretty_bytes(DATA, max_size=None)) == 48


def test_pretty_bytes_leaves_the_position() -> None:
    stream = BytesIO(b"abcdef")
    stream.seek(3)
    assert utils.pretty_bytes(stream) == ["  61  62  63  64  65  66"]
    assert stream.tell() == 3


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize(("flag", "expected"), [(False, "unset"), (True, "set")])
def test_make_target(monkeypatch: pytest.MonkeyPatch, flag: bool, expected: str) -> None:
    monkeypatch.setattr(_config, "PASS_CONTEXTVARS", flag)
    seen: list[str] = []

    def work(prefix: str, suffix: str) -> None:
        seen.append(prefix + VARIABLE.get() + suffix)

    def start() -> None:
        VARIABLE.set("set")
        thread = threading.Thread(target=utils.make_target(work), args=("<",), kwargs={"suffix": ">"})
        thread.start()
        thread.join()

    contextvars.copy_context().run(start)
    assert seen == [f"<{expected}>"]
    assert (utils.make_target(work) is work) is not flag


@pytest.mark.parametrize("resolution", [None, 1, 0.5])
def test_set_timer_resolution_lets_the_block_run(resolution: float | None) -> None:
    with utils.set_timer_resolution(resolution) as value:
        assert value is None
    with pytest.raises(KeyError), utils.set_timer_resolution(resolution):
        raise KeyError

"""Pictures made in processes apart, which can reach nothing but the one file that they are given."""

from __future__ import annotations

import logging
import shutil
from io import BytesIO, UnsupportedOperation
from tempfile import TemporaryFile
from typing import BinaryIO, cast

from ..datasets.apart import Ended, Kind, Processes
from ..datasets.confinement import Limits
from ..values import frozen
from .view import NotRendered, Reason, Shown, View

_log = logging.getLogger(__name__)

LIMITS = Limits(memory=3 << 30, processor_seconds=20)
# How long a picture may take, and how long a process waits for the next one, in seconds.
_SECONDS, _IDLE_SECONDS = 30.0, 300.0
# The longest picture or document, in bytes.
_LARGEST = 256 << 20
_ANSWERS = "dicomnet.rendering.process:answer"


@frozen
class Picture:
    """A picture.

    Parameters
    ----------
    media_type
        Such as image/jpeg.
    content
        Its bytes.
    shown
        The window that it has; None for one in colors, and for a document.
    """

    media_type: str
    content: bytes
    shown: Shown | None = None


class Renderers:
    """The processes that make pictures for this one.

    Parameters
    ----------
    most
        How many there are at once; None for as many as there are processors.
    limits
        What each may use.
    seconds
        How long a picture may take.
    """

    def __init__(
        self, most: int | None = None, *, limits: Limits = LIMITS, seconds: float = _SECONDS
    ) -> None:
        self._has_warned = False
        self._processes = Processes(Kind(_ANSWERS, _IDLE_SECONDS, seconds, limits, _LARGEST), most)

    def start(self) -> None:
        """Start a process if there is none, so that the first picture does not wait for it."""
        self._processes.start()

    def render(self, file: BinaryIO, view: View) -> Picture:
        """Have a picture made; waits where too many are being made.

        Parameters
        ----------
        file
            The whole file of an object; what can be read by a descriptor is not copied.
        view
            What is asked for.

        Raises
        ------
        NotRendered
            If there is no such picture, also where its process ended over it.
        OSError
            If no process can be started.
        """
        content = BytesIO()
        with _with_descriptor(file) as given:
            try:
                answer = self._processes.ask({"view": view.to_json()}, given, content)
            except Ended as ended:
                if ended.was_too_much:
                    cause = "it took too much time or memory to render, and that was ended"
                    raise NotRendered(Reason.TOO_MUCH, cause) from None
                raise NotRendered(Reason.DAMAGED, f"{ended}; its pixel data may be damaged") from None
        if not answer["is_confined"] and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "the processes that make pictures have limits, but files and the network are not out of their reach:"
                " this system has no seccomp filters, or does not allow them"
            )
        if "error" in answer:
            raise NotRendered(Reason(answer.get("reason", Reason.TOO_MUCH.value)), answer["error"])
        media_type = answer["media_type"]
        if media_type not in view.media_types:
            raise NotRendered(Reason.DAMAGED, "the decoder answered with something else than a picture")
        try:
            shown = None if answer.get("shown") is None else Shown.from_json(answer["shown"])
        except ValueError:
            raise NotRendered(
                Reason.DAMAGED, "the decoder answered with something else than a picture"
            ) from None
        return Picture(media_type, content.getvalue(), shown)

    def close(self) -> None:
        """End the processes that are idle."""
        self._processes.close()


class _with_descriptor:
    """A context with a file that has a descriptor: a file itself, or a copy of another stream, which goes with it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._copy: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        try:
            self._file.fileno()
        except (UnsupportedOperation, AttributeError):
            self._copy = cast(BinaryIO, TemporaryFile())
            self._file.seek(0)
            shutil.copyfileobj(self._file, self._copy, 1 << 20)
            self._copy.flush()
            return self._copy
        return self._file

    def __exit__(self, *_: object) -> None:
        if self._copy is not None:
            self._copy.close()

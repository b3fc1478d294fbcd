"""Decompression in processes apart: a decoder may end its own one over a damaged frame, as GDCM does."""

from __future__ import annotations

from typing import BinaryIO

from ..errors import UnusableObject
from .apart import Ended, Kind, Processes

_KIND = Kind("dicomnet.datasets.transcode:decompress_for_another", idle_seconds=30.0, seconds=600.0)


class Decoders:
    """The processes that decompress for this one: at most as many at once as there are processors."""

    def __init__(self) -> None:
        self.processes = Processes(_KIND)

    def decompress(
        self, stream: BinaryIO, transfer_syntax: str, sop_class: str, sop_instance: str, sink: BinaryIO
    ) -> None:
        """Write a data set with its pixel data decompressed, in Explicit VR Little Endian.

        Parameters
        ----------
        stream
            The data set.
        transfer_syntax, sop_class, sop_instance
            UIDs of it.
        sink
            Is given the data set.

        Raises
        ------
        UnusableObject
            If it cannot be decompressed; also where the decoder ended its process over it.
        OSError
            If no process can be started, or the sink cannot be written.
        """
        question = {"own": transfer_syntax, "sop_class": sop_class, "instance": sop_instance}
        try:
            answer = self.processes.ask(question, stream, sink)
        except Ended as ended:
            if ended.was_too_much:
                cause = "its decompression took too long, or too much memory, and was ended"
            else:
                cause = f"{ended}; its pixel data is damaged"
            raise UnusableObject(cause) from None
        if "error" in answer:
            raise UnusableObject(answer["error"])


DECODERS = Decoders()

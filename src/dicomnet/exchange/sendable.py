"""What can be sent by C-STORE: files that were looked at, and objects of which it is known what they are."""

from __future__ import annotations

from typing import TypeVar

from ..dimse.datasets import Readable
from ..drivers.buffers import BUFFER_LENGTH
from ..drivers.files import StoredObject, object_in, read_object
from ..errors import UnusableObject
from ..values import frozen

# The largest file, in bytes, that is read at once where it is looked at to be sent next.
SMALL_FILE = 1 << 16
# The largest file, in bytes, of which nothing has to be found out before it is sent, that is read at once.
WHOLE_FILE = BUFFER_LENGTH


@frozen
class Identity:
    """What has to be known of an object before it is sent.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid
        UIDs, which are valid.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


@frozen
class KnownObject:
    """An object to be sent of which it is known what it is, such as one in an index; its file is read when it is sent.

    Parameters
    ----------
    file
        Its file.
    header
        What it is.
    length
        Of the file, in bytes; None where it is not known.
    """

    file: Readable
    header: Identity
    length: int | None = None

    @property
    def state(self) -> None:
        """What is noted of a file, see `StoredObject`: nothing, as it was not opened."""
        return

    def read(self, *, whole: bool = True) -> tuple[StoredObject, memoryview | None]:
        """Look at the file, as `read_object` does.

        Parameters
        ----------
        whole
            Whether the data set is wanted, where the file is not too large to be read at once.

        Raises
        ------
        UnusableObject
            If it cannot be read, is damaged, or is not that of this object.
        """
        try:
            stored, content = self._look(whole)
        except OSError as error:
            raise UnusableObject(f"its file cannot be read: {error.strerror or error}") from error
        length = stored.header.offset + stored.length
        if self.length is not None and length != self.length:
            raise UnusableObject(f"its file has {length} bytes instead of {self.length}")
        known, found = self.header, stored.header
        if (known.sop_instance_uid, known.transfer_syntax_uid) != (
            found.sop_instance_uid,
            found.transfer_syntax_uid,
        ):
            raise UnusableObject("its file has another object, or that in another transfer syntax")
        return stored, content

    def _look(self, whole: bool) -> tuple[StoredObject, memoryview | None]:
        length = self.length
        if whole and length is not None and length <= WHOLE_FILE:
            content = self.file.read(length)
            found = (None, None) if content is None else object_in(content, self.file)
            if found[1] is not None:
                return found
        return read_object(self.file, SMALL_FILE if whole else 0, is_whole=True)


Sendable = StoredObject | KnownObject
AnySendable = TypeVar("AnySendable", bound=Sendable)

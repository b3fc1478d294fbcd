"""A second kind of store, beside that in a folder: what it keeps is in memory, under keys, as in an object store.

It is a whole store, and whatever of the archive works with it needs nothing but the `Storage` protocol. What is kept is
in a bucket, which outlives it: another store on the same bucket finds what a process that was killed has left.
"""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BufferedReader, BytesIO
from time import time

from dicomnet.archive.local import LocalFolder
from dicomnet.archive.storage.folder import FolderStorage
from dicomnet.archive.storage.store import Content, ObjectName, SetAside, Storage

Open = Callable[[LocalFolder], Storage]


class Bucket:
    """Contents under keys. Each operation is done as a whole or not at all; while it is away, each fails."""

    def __init__(self) -> None:
        self.is_away = False
        self._contents: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()

    def open(self, local: LocalFolder) -> MemoryStorage:
        """The store on it; it needs no folder."""
        assert local.root.exists()
        return MemoryStorage(self)

    def contents(self) -> dict[str, bytes]:
        """All that is kept."""
        with self._lock:
            return {key: content for key, (content, _) in self._contents.items()}

    def put(self, key: str, content: bytes, *, is_new: bool = False, written_at: float | None = None) -> bool:
        """Keep a content; False if it has to be new, and another one has its key."""
        with self._reached():
            if is_new and key in self._contents:
                return False
            self._contents[key] = content, written_at or time()
            return True

    def get(self, key: str) -> tuple[bytes, float]:
        """A content, and when it was written."""
        with self._reached():
            if key not in self._contents:
                raise FileNotFoundError(errno.ENOENT, "there is no such key", key)
            return self._contents[key]

    def has(self, key: str) -> bool:
        """Whether there is a content."""
        with self._reached():
            return key in self._contents

    def remove(self, key: str) -> None:
        """Remove a content, if it is there."""
        with self._reached():
            self._contents.pop(key, None)

    def keys(self, prefix: str) -> list[list[str]]:
        """All keys that begin so, each in its parts, in their order."""
        with self._reached():
            return [key.split("/") for key in sorted(self._contents) if key.startswith(prefix)]

    def _reached(self) -> threading.Lock:
        if self.is_away:
            raise OSError(errno.EHOSTUNREACH, "the store cannot be reached")
        return self._lock


class MemoryStorage:
    """The store in a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    @property
    def is_volatile(self) -> bool:
        return False

    def has(self, name: ObjectName) -> bool:
        return self.bucket.has(_key(name))

    def length(self, name: ObjectName) -> int | None:
        return len(self.bucket.get(_key(name))[0]) if self.has(name) else None

    def keep(self, name: ObjectName, content: Content) -> bool:
        is_kept = self.bucket.put(_key(name), _whole(content), is_new=True)
        if is_kept:
            _discard(content)
        return is_kept

    def replace(self, name: ObjectName, content: Content) -> None:
        self.bucket.put(_key(name), _whole(content))
        _discard(content)

    def remove(self, name: ObjectName) -> None:
        self.bucket.remove(_key(name))

    def place_in_trash(self, name: ObjectName, digest: str) -> str:
        return f"trash/{name.instance}/{digest}"

    def delete(self, places: Mapping[ObjectName, str]) -> None:
        for name, place in places.items():
            if place and self.has(name):
                content, written_at = self.bucket.get(_key(name))
                self.bucket.put(place, content, written_at=written_at)
            self.remove(name)

    def trash(self, instance: str = "") -> Iterator[SetAside]:
        return self._aside(f"trash/{instance}/" if instance else "trash/")

    def open(self, name: ObjectName) -> BufferedReader:
        return self._opened(_key(name))

    def read(self, name: ObjectName, length: int) -> bytes | None:
        content, _ = self.bucket.get(_key(name))
        return content if len(content) == length else None

    def digest(self, name: ObjectName) -> str:
        try:
            return hashlib.sha256(self.bucket.get(_key(name))[0]).hexdigest()
        except FileNotFoundError:
            return ""

    def written_at(self, name: ObjectName) -> float:
        return self.bucket.get(_key(name))[1]

    def series(
        self, cannot_read: Callable[[OSError], None] | None = None, *, study: str = ""
    ) -> Iterator[tuple[str, str]]:
        try:
            keys = self.bucket.keys(f"objects/{study}/" if study else "objects/")
        except OSError as error:
            if cannot_read is None:
                raise
            cannot_read(error)
            return
        yield from dict.fromkeys((study, series) for _, study, series, _ in keys)

    def instances(self, study: str, series: str) -> Iterator[str]:
        return (key[3] for key in self.bucket.keys(f"objects/{study}/{series}/"))

    def make_durable(self) -> None:
        """What is in the bucket is as durable as it ever will be."""

    def quarantine_content(self, instance: str, content: Content) -> SetAside:
        kept = self._set_aside("quarantine", instance, _whole(content), time())
        _discard(content)
        return kept

    def quarantine(self, name: ObjectName) -> SetAside | None:
        try:
            kept = self._set_aside("quarantine", name.instance, *self.bucket.get(_key(name)))
        except FileNotFoundError:
            return None
        self.remove(name)
        return kept

    def quarantined(self, instance: str = "") -> Iterator[SetAside]:
        return self._aside(f"quarantine/{instance}/" if instance else "quarantine/")

    def keep_version(self, name: ObjectName) -> SetAside:
        return self._set_aside("versions", name.instance, *self.bucket.get(_key(name)))

    def has_version(self, instance: str, digest: str) -> bool:
        return self.bucket.has(f"versions/{instance}/{digest}")

    def versions(self) -> Iterator[SetAside]:
        return self._aside("versions/")

    def open_aside(self, location: str) -> BufferedReader:
        return self._opened(location)

    def where_aside(self, location: str) -> str | None:
        return f"memory:{location}" if self.bucket.has(location) else None

    def drop_aside(self, location: str) -> None:
        self.bucket.remove(location)

    def put_aside_again(self, location: str, content: Content) -> None:
        if location.split("/")[0] not in ("quarantine", "versions", "trash"):
            raise ValueError(location)
        self.bucket.put(location, _whole(content), is_new=True)
        _discard(content)

    def location(self, name: ObjectName) -> str:
        return _key(name)

    def strays(self, cannot_read: Callable[[OSError], None]) -> Iterator[str]:
        return iter(())

    def put_in_place(self, location: str, name: ObjectName) -> bool:
        content, written_at = self.bucket.get(location)
        is_kept = self.bucket.put(_key(name), content, is_new=True, written_at=written_at)
        if is_kept:
            self.bucket.remove(location)
        return is_kept

    def set_stray_aside(self, location: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "there are no strays", location)

    def _aside(self, prefix: str) -> Iterator[SetAside]:
        for key in self.bucket.keys(prefix):
            content, written_at = self.bucket.get("/".join(key))
            yield SetAside(key[1], "/".join(key), key[2], len(content), written_at)

    def _opened(self, key: str) -> BufferedReader:
        return BufferedReader(BytesIO(self.bucket.get(key)[0]))

    def _set_aside(self, above: str, instance: str, content: bytes, written_at: float) -> SetAside:
        digest = hashlib.sha256(content).hexdigest()
        key = f"{above}/{instance}/{digest}"
        self.bucket.put(key, content, is_new=True, written_at=written_at)
        return SetAside(instance, key, digest, len(content), written_at)


def _key(name: ObjectName) -> str:
    return f"objects/{name.study}/{name.series}/{name.instance}"


def _whole(content: Content) -> bytes:
    if isinstance(content, Sequence):
        return b"".join(content)
    with content.open() as file:
        return file.read()


def _discard(content: Content) -> None:
    if not isinstance(content, Sequence):
        content.discard()


# For each kind of store what makes an empty one: a function that opens it, again and again.
KINDS: dict[str, Callable[[], Open]] = {
    "folder": lambda: FolderStorage.of,
    "memory": lambda: Bucket().open,
}

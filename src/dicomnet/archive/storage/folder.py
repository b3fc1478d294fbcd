"""The store in a folder: it holds each object as a DICOM file, whose name is made from validated UIDs.

Files get their names when they are complete. Nothing is overwritten. They are made durable many at a time; until then
the intake journal has their content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Self

from ...encoding.identity import is_uid
from ...values import Buffer
from ..local import LocalFolder
from ..medium import flush_file_system, flush_folder, is_in_memory
from .staging import STAGING, Staging, naming, write_all
from .store import Content, ObjectName, SetAside

_SUFFIX = ".dcm"
# Linux: a file without a name. It lies where the other files of its folder are; one that is made elsewhere, and then
# linked, stays where the files of that folder are, with all other objects.
_NAMELESS = getattr(os, "O_TMPFILE", 0)
_NOT_OFFERED = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS))
# Where files are, below the folder of the store.
_OBJECTS, _QUARANTINE, _VERSIONS = "objects", "quarantine", "versions"


@lru_cache(maxsize=1024)
def _study_folder(study: str) -> str:
    """Path of a study's folder below ``objects``, under two levels of hash so that no folder has too many entries."""
    digest = hashlib.blake2b(study.encode("ascii"), digest_size=2).hexdigest()
    return os.sep.join((digest[:2], digest[2:], study))


class _NotOffered(Exception):
    """Files without a name cannot be made here."""


class FolderStorage:
    """A store in a folder, on the file system on which objects are staged, or on others by symbolic links.

    It holds ``objects/ab/cd/<study>/<series>/<instance>.dcm``, where ``ab`` and ``cd`` are a hash of the Study
    Instance UID; ``quarantine/<instance>/<hash>.dcm``, objects whose SOP Instance UID another object has; and
    ``versions/<instance>/<hash>.dcm``, objects whose place another one has taken.

    Parameters
    ----------
    root
        The folder.
    staging
        Where the files are that get their names here, and where others are written before they get them.
    sync
        As of `LocalFolder`.
    """

    def __init__(self, root: Path, staging: Staging, *, sync: bool = True) -> None:
        self.root = root
        self.sync = sync
        self._staging = staging
        self._objects = str(root / _OBJECTS)
        self._quarantine = str(root / _QUARANTINE)
        self._versions = str(root / _VERSIONS)
        # Folders that are there, as far as is known; and one folder of each file system that has some of them.
        self._made: set[str] = set()
        self._devices: dict[int, str] = {}
        self._folders = threading.Lock()
        self._may_be_nameless = _NAMELESS != 0

    @classmethod
    def of(cls, local: LocalFolder) -> Self:
        """The store in the folder of an archive, made if it is not there.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        storage = cls(local.root, local.staging, sync=local.sync)
        for folder in (storage._objects, storage._quarantine):
            os.makedirs(folder, exist_ok=True)
        storage._flush_folder(str(local.root))
        return storage

    @cached_property
    def is_volatile(self) -> bool:
        """Whether nothing in it survives a power cut: it is on a RAM disk, or nothing is flushed."""
        return not self.sync or is_in_memory(self._objects)

    @classmethod
    def beside(cls, root: Path) -> Self:
        """The store in the folder of an archive that another process may have open.

        Raises
        ------
        FileNotFoundError
            If there is no store.
        """
        # A store without this folder is none, or was never opened.
        os.stat(root / _QUARANTINE)
        return cls(root, Staging(root / STAGING))

    def path(self, name: ObjectName) -> str:
        """The path of an object, whether or not the store has it."""
        return f"{self._series_folder(name)}{os.sep}{name.instance}{_SUFFIX}"

    def has(self, name: ObjectName) -> bool:
        """Whether the store has an object of that name."""
        return os.path.exists(self.path(name))

    def keep(self, name: ObjectName, content: Content) -> bool:
        """Give an object its name, as `Storage.keep` says: a staged file gets a second one and loses the first."""
        target = self.path(name)
        if isinstance(content, Sequence) and self._may_be_nameless:
            with contextlib.suppress(_NotOffered):
                return self._in_its_folder(target, lambda: self._write(content, target))
        with self._staged(content) as path:
            is_kept = self._in_its_folder(target, lambda: _link(path, target))
            if is_kept:
                _discard(content)
        return is_kept

    def replace(self, name: ObjectName, content: Content) -> None:
        """Put an object in the place of the one that is stored, as `Storage.replace` says."""
        with self._staged(content) as path:
            target = self.path(name)
            try:
                os.replace(path, target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with _copied(path, target) as copy:
                    os.replace(copy, target)
                _discard(content)

    def remove(self, name: ObjectName) -> None:
        """Remove an object whose content is kept elsewhere, durably. Does nothing if there is none."""
        path = self.path(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            self._flush_folder(os.path.dirname(path))

    def open(self, name: ObjectName) -> BufferedReader:
        """An object's file, for reading."""
        return _opened(self.path(name))

    def digest(self, name: ObjectName) -> str:
        """The SHA-256 of an object's file, as hexadecimal digits; empty if the store has no such object."""
        try:
            with FileIO(self.path(name)) as file:
                return _digest(file)
        except FileNotFoundError:
            return ""

    def written_at(self, name: ObjectName) -> float:
        """When an object's file was written, in seconds since 1970."""
        return os.stat(self.path(name)).st_mtime

    def series(self, cannot_read: Callable[[OSError], None] | None = None) -> Iterator[tuple[str, str]]:
        """The Study and Series Instance UIDs of all series in the store, as `Storage.series` says."""
        for first in _folders(self._objects, cannot_read):
            for second in _folders(first, cannot_read):
                for study in _folders(second, cannot_read):
                    for series in _folders(study, cannot_read):
                        pair = (os.path.basename(study), os.path.basename(series))
                        if is_uid(pair[0]) and is_uid(pair[1]):
                            yield pair

    def instances(self, study: str, series: str) -> Iterator[str]:
        """The SOP Instance UIDs of the objects in a series."""
        with os.scandir(f"{self._objects}{os.sep}{_study_folder(study)}{os.sep}{series}") as entries:
            for entry in entries:
                name, suffix = os.path.splitext(entry.name)
                if suffix == _SUFFIX and is_uid(name) and entry.is_file(follow_symlinks=False):
                    yield name

    def make_durable(self) -> None:
        """Return when all that was kept so far is on the medium, by one call for each file system."""
        if not self.sync:
            return
        with self._folders:
            folders = [self._objects, *self._devices.values()]
        for folder in folders:
            flush_file_system(folder)

    def quarantine_content(self, instance: str, content: Content) -> SetAside:
        """Keep an object in quarantine, durably; it is then no longer staged."""
        with self._staged(content) as path:
            kept = self._set_aside(path, self._quarantine, instance)
            _discard(content)
        return kept

    def quarantine(self, name: ObjectName) -> SetAside | None:
        """Move an object to quarantine; None if there is no such object."""
        path = self.path(name)
        try:
            kept = self._set_aside(path, self._quarantine, name.instance)
        except FileNotFoundError:
            return None
        self.remove(name)
        return kept

    def quarantined(self, instance: str = "") -> Iterator[SetAside]:
        """The files in quarantine; only those of a SOP Instance UID, if one is given."""
        for folder in Path(self._quarantine).iterdir():
            if not is_uid(folder.name) or (instance and folder.name != instance) or not folder.is_dir():
                continue
            for path in folder.glob(f"*{_SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    yield SetAside(
                        folder.name, self._location(path), path.stem, state.st_size, state.st_mtime
                    )

    def keep_version(self, name: ObjectName) -> SetAside:
        """Keep the file of an object among the versions, durably."""
        return self._set_aside(self.path(name), self._versions, name.instance)

    def has_version(self, instance: str, digest: str) -> bool:
        """Whether a file with this digest is among the versions of an object."""
        return os.path.exists(os.path.join(self._versions, instance, digest + _SUFFIX))

    def open_aside(self, location: str) -> BufferedReader:
        """A file that was set aside, for reading."""
        return _opened(str(self.root / location))

    def where_aside(self, location: str) -> str | None:
        """The path of a file that was set aside; None if it is not there any more."""
        path = self.root / location
        return str(path) if path.exists() else None

    def drop_aside(self, location: str) -> None:
        """Delete a file that was set aside, durably."""
        path = self.root / location
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            # Another one may be there, or the node may be about to put one there, which makes the folder anew.
            self._flush_folder(str(path.parent))

    @contextlib.contextmanager
    def _staged(self, content: Content) -> Iterator[str]:
        """The path of a file that is to get another name; what is in memory is staged for this, and not afterwards."""
        if not isinstance(content, Sequence):
            yield self._staging.path(content.name)
            return
        staged = self._staging.write(content)
        try:
            yield self._staging.path(staged.name)
        finally:
            staged.discard()

    def _in_its_folder(self, target: str, give_name: Callable[[], None]) -> bool:
        """Give a file a name in the store, in a folder that is made where it is missing; False if it is in use."""
        folder = os.path.dirname(target)
        for is_last in (False, True):
            try:
                self._make(folder)
                give_name()
            except FileExistsError:
                return False
            except FileNotFoundError:
                if is_last or os.path.isdir(folder):
                    raise
                # Folders that this process had created or seen were removed from outside.
                with self._folders:
                    self._made.clear()
            else:
                break
        return True

    def _write(self, content: Sequence[Buffer], target: str) -> None:
        """Write a file that gets its name when it is complete."""
        with naming(target):
            try:
                descriptor = os.open(os.path.dirname(target), os.O_RDWR | os.O_CLOEXEC | _NAMELESS, 0o640)
            except OSError as error:
                if error.errno not in _NOT_OFFERED:
                    raise
                self._may_be_nameless = False
                raise _NotOffered from error
            try:
                write_all(descriptor, content)
                try:
                    # With a descriptor given, this is the call that follows the link; the path is absolute.
                    os.link(f"/proc/self/fd/{descriptor}", target, src_dir_fd=descriptor)
                except FileNotFoundError as error:
                    if os.path.isdir("/proc/self/fd"):
                        raise
                    self._may_be_nameless = False
                    raise _NotOffered from error
            finally:
                os.close(descriptor)

    def _series_folder(self, name: ObjectName) -> str:
        return f"{self._objects}{os.sep}{_study_folder(name.study)}{os.sep}{name.series}"

    def _set_aside(self, path: str, above: str, instance: str) -> SetAside:
        folder = os.path.join(above, instance)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        with FileIO(path) as file:
            if self.sync:
                os.fsync(file.fileno())
            digest, state = _digest(file), os.fstat(file.fileno())
        kept = os.path.join(folder, digest + _SUFFIX)
        with contextlib.suppress(FileExistsError):
            _link(path, kept)
        for changed in (folder, above, str(self.root)):
            self._flush_folder(changed)
        return SetAside(instance, self._location(Path(kept)), digest, state.st_size, state.st_mtime)

    def _location(self, path: Path) -> str:
        """The location of a file that is set aside: where it is below the folder of the store, with slashes."""
        return path.relative_to(self.root).as_posix()

    def _make(self, folder: str) -> None:
        if folder in self._made:
            return
        os.makedirs(folder, mode=0o750, exist_ok=True)
        device = os.stat(folder).st_dev
        with self._folders:
            if len(self._made) > 100_000:
                self._made.clear()
            self._made.add(folder)
            # An administrator may have put a part of the archive on another file system.
            self._devices.setdefault(device, folder)

    def _flush_folder(self, folder: str) -> None:
        if self.sync:
            flush_folder(folder)


def _link(source: str, target: str) -> None:
    """Give a file a second name. An existing file is never replaced."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with _copied(source, target) as copy:
            os.link(copy, target)


@contextlib.contextmanager
def _copied(source: str, target: str) -> Iterator[str]:
    """A durable copy of a file on another file system, beside the name that it is to have."""
    copy = f"{target}.{os.getpid()}.part"
    try:
        shutil.copyfile(source, copy)
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        yield copy
        flush_folder(os.path.dirname(target))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy)


def _discard(content: Content) -> None:
    """What was staged by somebody else is no longer staged."""
    if not isinstance(content, Sequence):
        content.discard()


def _opened(path: str) -> BufferedReader:
    # `open` would ask whether it is a terminal.
    return BufferedReader(FileIO(path))


def _digest(file: FileIO) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(path: str, cannot_read: Callable[[OSError], None] | None = None) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir())
    except OSError as error:
        if cannot_read is None:
            raise
        cannot_read(error)
        return []

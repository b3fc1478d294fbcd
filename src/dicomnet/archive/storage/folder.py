"""The store in a folder: it holds each object as a DICOM file, whose name is made from validated UIDs.

Files get their names when they are complete. Nothing is overwritten. They are made durable many at a time; until then
the intake journal has their content.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from io import BufferedReader, FileIO
from pathlib import Path
from time import time
from typing import Self

from ...drivers.medium import flush_file_system, flush_folder, is_in_memory
from ...encoding.identity import is_uid
from ...values import Buffer
from ..local import LocalFolder, set_stray_aside
from .staging import STAGING, Staging, naming, write_all
from .store import Content, ObjectName, SetAside

_SUFFIX = ".dcm"
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
# Linux: a file without a name. It lies where the other files of its folder are; one that is made elsewhere, and then
# linked, stays where the files of that folder are, with all other objects.
_NAMELESS = getattr(os, "O_TMPFILE", 0)
_NOT_OFFERED = frozenset((errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS))
# Where files are, below the folder of the store.
_OBJECTS, _QUARANTINE, _VERSIONS, _TRASH = "objects", "quarantine", "versions", "trash"
# A copy that is being made on another file system, and how old one is that a kill has left, in seconds.
_PART = ".part"
_LEFT_AFTER = 3600.0
# What file systems have in their uppermost folder, which a folder of the store may be.
_OF_THE_FILE_SYSTEM = frozenset(("lost+found",))
_LOCATION_ASIDE = re.compile(rf"(?:{_QUARANTINE}|{_VERSIONS}|{_TRASH})/([0-9.]+)/[0-9a-f]{{64}}\{_SUFFIX}")


@lru_cache(maxsize=1024)
def _study_folder(study: str) -> str:
    """Path of a study's folder below ``objects``, under two levels of hash so that no folder has too many entries."""
    digest = hashlib.blake2b(study.encode("ascii"), digest_size=2).hexdigest()
    return os.sep.join((digest[:2], digest[2:], study))


def location_of(name: ObjectName) -> str:
    """Where an object is below the folder of a store, with slashes."""
    return (
        f"{_OBJECTS}/{_study_folder(name.study).replace(os.sep, '/')}/{name.series}/{name.instance}{_SUFFIX}"
    )


def is_location_aside(location: str) -> bool:
    """Whether a store in a folder sets files aside there."""
    found = _LOCATION_ASIDE.fullmatch(location)
    return found is not None and is_uid(found[1])


class _NotOffered(Exception):
    """Files without a name cannot be made here."""


class FolderStorage:
    """A store in a folder, on the file system on which objects are staged, or on others by symbolic links.

    It holds ``objects/ab/cd/<study>/<series>/<instance>.dcm``, where ``ab`` and ``cd`` are a hash of the Study
    Instance UID; ``quarantine/<instance>/<hash>.dcm``, objects whose SOP Instance UID another object has;
    ``versions/<instance>/<hash>.dcm``, objects whose place another one has taken; and ``trash/<instance>/<hash>.dcm``,
    objects that were deleted.

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
        self._trash = str(root / _TRASH)
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

    def length(self, name: ObjectName) -> int | None:
        """How many bytes the file of an object has; None if the store has no object of that name."""
        try:
            return os.stat(self.path(name)).st_size
        except FileNotFoundError:
            return None

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

    def place_in_trash(self, name: ObjectName, digest: str) -> str:
        """Where the file of an object would be in the trash, as of `SetAside`."""
        return f"{_TRASH}/{name.instance}/{digest}{_SUFFIX}"

    def delete(self, places: Mapping[ObjectName, str]) -> None:
        """Delete objects, as `Storage.delete` says: a file is renamed, and so is in one place at any moment."""
        devices: dict[int, str] = {}
        try:
            for name, place in places.items():
                path = self.path(name)
                changed = [os.path.dirname(path)]
                with contextlib.suppress(FileNotFoundError):
                    if place:
                        kept = str(self.root / place)
                        changed.append(os.path.dirname(kept))
                        self._move(path, kept)
                    else:
                        os.unlink(path)
                    for folder in changed:
                        devices.setdefault(os.stat(folder).st_dev, folder)
        finally:
            for folder in devices.values() if self.sync else ():
                flush_file_system(_still_there(folder))
        for series in dict.fromkeys(os.path.dirname(self.path(name)) for name in places):
            # Who stores an object there meanwhile makes them anew. Above are those of many studies.
            with contextlib.suppress(OSError):
                os.rmdir(series)
                os.rmdir(os.path.dirname(series))

    def trash(self, instance: str = "") -> Iterator[SetAside]:
        """The files in the trash; only those of a SOP Instance UID, if one is given."""
        return self._aside(self._trash, instance) if os.path.isdir(self._trash) else iter(())

    def open(self, name: ObjectName) -> BufferedReader:
        """An object's file, for reading."""
        return _opened(self.path(name))

    def read(self, name: ObjectName, length: int) -> bytes | None:
        """An object's whole file if it is of this length, in bytes; None if it is of another."""
        descriptor = os.open(self.path(name), _READ)
        try:
            # One more than there should be, so that a longer file is noticed.
            content = os.read(descriptor, length + 1)
            while 0 < len(content) < length and (more := os.read(descriptor, length + 1 - len(content))):
                content += more
        finally:
            os.close(descriptor)
        return content if len(content) == length else None

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

    def series(
        self, cannot_read: Callable[[OSError], None] | None = None, *, study: str = ""
    ) -> Iterator[tuple[str, str]]:
        """The Study and Series Instance UIDs of all series in the store, as `Storage.series` says."""
        for folder in [self._study(study)] if study else self._studies(cannot_read):
            if study and not os.path.lexists(folder):
                return
            for series in _folders(folder, cannot_read):
                pair = (os.path.basename(folder), os.path.basename(series))
                if is_uid(pair[0]) and is_uid(pair[1]):
                    yield pair

    def instances(self, study: str, series: str) -> Iterator[str]:
        """The SOP Instance UIDs of the objects in a series."""
        folder = f"{self._study(study)}{os.sep}{series}"
        try:
            opened = os.scandir(folder)
        except FileNotFoundError:
            self._refuse_lost_links(folder)
            raise
        with opened as entries:
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
        return self._aside(self._quarantine, instance)

    def keep_version(self, name: ObjectName) -> SetAside:
        """Keep the file of an object among the versions, durably."""
        return self._set_aside(self.path(name), self._versions, name.instance)

    def has_version(self, instance: str, digest: str) -> bool:
        """Whether a file with this digest is among the versions of an object."""
        return os.path.exists(os.path.join(self._versions, instance, digest + _SUFFIX))

    def versions(self) -> Iterator[SetAside]:
        """The files among the versions."""
        return self._aside(self._versions, "") if os.path.isdir(self._versions) else iter(())

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
            if location.startswith(_TRASH + "/"):
                path.parent.rmdir()

    def put_aside_again(self, location: str, content: Content) -> None:
        """Keep a file where it was set aside, durably."""
        if not is_location_aside(location):
            raise ValueError("no file is set aside there")
        with self._staged(content) as path:
            self._keep_aside(path, str(self.root / location))
            _discard(content)

    def location(self, name: ObjectName) -> str:
        """Where an object is below the folder of the store, with slashes."""
        return location_of(name)

    def strays(self, cannot_read: Callable[[OSError], None]) -> Iterator[str]:
        """Where files are that lie in the store and are not part of it."""
        is_hash = re.compile(r"[0-9a-f]{2}").fullmatch
        of_objects = (is_hash, is_hash, is_uid, is_uid)
        folders: tuple[tuple[str, Sequence[Callable[[str], object]]], ...] = (
            (self._objects, of_objects),
            (self._quarantine, (is_uid,)),
            (self._versions, (is_uid,)),
            (self._trash, (is_uid,)),
        )
        for folder, levels in folders:
            if os.path.exists(folder):
                for path in self._strays(folder, levels, cannot_read):
                    yield self._location(Path(path))

    def put_in_place(self, location: str, name: ObjectName) -> bool:
        """Give a file that lies in the store the name of the object in it, durably."""
        path, target = str(self.root / location), self.path(name)
        is_kept = self._in_its_folder(target, lambda: _link(path, target))
        if is_kept:
            self._flush_folder(os.path.dirname(target))
            os.unlink(path)
            self._flush_folder(os.path.dirname(path))
        return is_kept

    def set_stray_aside(self, location: str) -> str:
        """Move a stray file to ``strays`` beside the store, below the path that it has."""
        return set_stray_aside(self.root, location)

    def _studies(self, cannot_read: Callable[[OSError], None] | None) -> Iterator[str]:
        for first in _folders(self._objects, cannot_read):
            for second in _folders(first, cannot_read):
                yield from _folders(second, cannot_read)

    def _study(self, study: str) -> str:
        return f"{self._objects}{os.sep}{_study_folder(study)}"

    def _refuse_lost_links(self, folder: str) -> None:
        """A folder on a file system that is not mounted must not be taken for one that is not there."""
        while len(folder) >= len(self._objects):
            if os.path.islink(folder) and not os.path.exists(folder):
                raise OSError(errno.ENXIO, "it is a link to what is not there", folder)
            folder = os.path.dirname(folder)

    def _aside(self, above: str, instance: str) -> Iterator[SetAside]:
        for folder in Path(above).iterdir():
            if not is_uid(folder.name) or (instance and folder.name != instance) or not folder.is_dir():
                continue
            for path in folder.glob(f"*{_SUFFIX}"):
                with contextlib.suppress(FileNotFoundError):
                    state = path.stat()
                    yield SetAside(
                        folder.name, self._location(path), path.stem, state.st_size, state.st_mtime
                    )

    def _strays(
        self, folder: str, levels: Sequence[Callable[[str], object]], cannot_read: Callable[[OSError], None]
    ) -> Iterator[str]:
        """The strays below a folder, of which the folders inside have names of some form, one level after the other."""
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            cannot_read(error)
            return
        for entry in entries:
            if entry.is_symlink() and not os.path.exists(entry.path):
                cannot_read(OSError(errno.ENXIO, "it is a link to what is not there", entry.path))
            elif entry.is_dir():
                is_ours = bool(levels) and bool(levels[0](entry.name))
                if is_ours and len(levels) == 2 and folder.startswith(self._objects):
                    is_ours = entry.path == self._study(entry.name)
                if is_ours:
                    yield from self._strays(entry.path, levels[1:], cannot_read)
                elif entry.name not in _OF_THE_FILE_SYSTEM:
                    yield from _files_below(entry.path, cannot_read)
            elif levels or not self._is_part(entry):
                yield entry.path

    def _is_part(self, entry: os.DirEntry[str]) -> bool:
        """Whether a file belongs where objects, or files that are set aside, have theirs."""
        if entry.name.endswith(_PART):
            # One that is being made is gone in a moment.
            with contextlib.suppress(FileNotFoundError):
                return time() - entry.stat(follow_symlinks=False).st_mtime < _LEFT_AFTER
            return True
        if not entry.is_file(follow_symlinks=False):
            return False
        if entry.path.startswith(self._objects + os.sep):
            name, suffix = os.path.splitext(entry.name)
            return suffix == _SUFFIX and is_uid(name)
        return is_location_aside(self._location(Path(entry.path)))

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
        return f"{self._study(name.study)}{os.sep}{name.series}"

    def _set_aside(self, path: str, above: str, instance: str) -> SetAside:
        folder = os.path.join(above, instance)
        with FileIO(path) as file:
            if self.sync:
                os.fsync(file.fileno())
            digest, state = _digest(file), os.fstat(file.fileno())
        kept = os.path.join(folder, digest + _SUFFIX)
        self._keep_aside(path, kept)
        return SetAside(instance, self._location(Path(kept)), digest, state.st_size, state.st_mtime)

    def _keep_aside(self, path: str, kept: str) -> None:
        """Give a file the name that it has where it is set aside, durably."""
        folder = os.path.dirname(kept)
        os.makedirs(folder, mode=0o750, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            _link(path, kept)
        for changed in (folder, os.path.dirname(folder), str(self.root)):
            self._flush_folder(changed)

    def _move(self, path: str, kept: str) -> None:
        """Give a file the name that it has in the trash, in the place of its present one."""
        os.makedirs(os.path.dirname(kept), mode=0o750, exist_ok=True)
        try:
            os.replace(path, kept)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with _copied(path, kept) as copy:
                shutil.copystat(path, copy)
                os.replace(copy, kept)
            self._flush_folder(os.path.dirname(kept))
            os.unlink(path)

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
    copy = f"{target}.{os.getpid()}{_PART}"
    try:
        shutil.copyfile(source, copy)
        with open(copy, "rb") as file:
            os.fsync(file.fileno())
        yield copy
        flush_folder(os.path.dirname(target))
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy)


def _still_there(folder: str) -> str:
    """A folder, or the one above it that is left where it was empty and somebody removed it."""
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder


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


def _files_below(folder: str, cannot_read: Callable[[OSError], None]) -> Iterator[str]:
    """All files below a folder, in their order; links are not followed."""
    for path, folders, names in os.walk(folder, onerror=cannot_read):
        folders.sort()
        yield from (os.path.join(path, name) for name in sorted(names))

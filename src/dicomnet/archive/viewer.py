"""OHIF, the full viewer, as a folder from which a node serves it: how it is made of the package of npm, and read."""

from __future__ import annotations

import contextlib
import glob
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..errors import ViewerUnusable
from ..values import frozen
from .exclusion import alone_in

# Where it is served, and DICOMweb, which it speaks.
PREFIX = "/ohif/"
_DICOMWEB = "/dicom-web"
# What a folder is known by that has a whole viewer, and what the first line of the page loads.
MANIFEST, INDEX, _CONFIGURATION = "viewer.json", "index.html", "app-config.js"
_FORM = 1
# What is larger in an archive is none of this package, in bytes and files.
_LARGEST, _MOST_FILES = 1 << 29, 5_000
_COMPRESSED = frozenset((".css", ".html", ".js", ".json", ".svg", ".wasm"))
# What is shorter is not worth another file.
_SHORTEST = 1_000
# What viewers of DICOM images do without: machine learning, slides, what only developers read, servers' files, the
# service worker with the script that has it loaded from a foreign host, and others' ways to log in.
_LEFT_OUT = re.compile(
    r"(ort|dicom-microscopy-viewer|customizations)/.*|.*\.map|init-service-worker\.js|sw\.js|serve\.json|_headers"
    r"|_redirects|google\.js|silent-refresh\.html"
)
_SCRIPT_OF_THE_WORKER = re.compile(rb'<script [^>]*src="/init-service-worker\.js"[^>]*></script>')
_SCRIPT_INSIDE = re.compile(rb"<script>.*?</script>", re.DOTALL)
_SECONDS = 900.0


@frozen
class Release:
    """A version of the package.

    Parameters
    ----------
    package, version
        As npm names it.
    digest
        The SHA-512 of its tarball, in hexadecimal digits.
    """

    package: str
    version: str
    digest: str


OHIF = Release(
    "@ohif/app",
    "3.13.2",
    "5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3deea3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8"
    "dde715d907d13c10",
)


@frozen
class Viewer:
    """A viewer in a folder.

    Parameters
    ----------
    folder
        The folder.
    version
        Its version.
    files
        The size of each file in bytes, by its path below the folder with ``/`` in it.
    """

    folder: Path
    version: str
    files: Mapping[str, int]


def usual_folder() -> Path:
    """The folder of the user's data in which a viewer is where nobody names another one."""
    folder = os.environ.get("XDG_DATA_HOME", "")
    # One that is relative is to be ignored, as the XDG Base Directory Specification has it.
    home = folder if os.path.isabs(folder) else os.path.expanduser("~/.local/share")
    return Path(home, "dicomnet", "ohif")


def read(folder: Path) -> Viewer | None:
    """The viewer in a folder; None if there is none.

    Raises
    ------
    ViewerUnusable
        If something is there that this version cannot use.
    """
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ViewerUnusable(str(folder), str(error)) from None
    try:
        form, version, files = found["form"], str(found["version"]), found["files"]
        sizes = {_checked(name): int(size) for name, size in files.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ViewerUnusable(str(folder), f"{MANIFEST} does not say what is there") from None
    if form != _FORM:
        raise ViewerUnusable(str(folder), "another version of dicomnet has installed it; install it again")
    return Viewer(folder, version, sizes)


def download(into: Path, release: Release = OHIF) -> Path:
    """Have npm fetch the package.

    Parameters
    ----------
    into
        A folder.
    release
        Which version.

    Raises
    ------
    ViewerUnusable
        If npm is not there, or cannot.
    """
    name = f"{release.package}@{release.version}"
    command = ["npm", "pack", name, "--ignore-scripts", "--silent", "--pack-destination", str(into)]
    try:
        # In a folder of its own, so that no project's settings of npm count.
        subprocess.run(command, cwd=into, check=True, capture_output=True, timeout=_SECONDS)
    except FileNotFoundError:
        raise ViewerUnusable(
            name, "npm is not installed here; install it, or give the tarball by --from"
        ) from None
    except subprocess.TimeoutExpired:
        raise ViewerUnusable(name, f"npm did not fetch it within {_SECONDS:.0f} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ViewerUnusable(name, f"npm could not fetch it: {said or error.returncode}") from None
    found = list(into.glob("*.tgz"))
    if len(found) != 1:
        raise ViewerUnusable(name, "npm has fetched no tarball")
    return found[0]


def install(tarball: Path, folder: Path, release: Release = OHIF) -> Viewer:
    """Make a folder with a viewer of its package; one that is there is replaced. Until all is well, nothing changes.

    Parameters
    ----------
    tarball
        The package, as ``npm pack`` gives it.
    folder
        The folder.
    release
        What the package must be.

    Raises
    ------
    ViewerUnusable
        If the tarball is another one or has what is not safe, or if the folder has something else.
    OSError
        If files cannot be read or written.
    """
    _check_digest(tarball, release)
    folder = folder.resolve()
    if version_in(folder) is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ViewerUnusable(str(folder), "there is something else in it; choose another folder by --to")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone_in(folder.parent):
        _remove_leftovers(folder)
        with _scratch(folder) as scratch:
            made = scratch / "new"
            made.mkdir(mode=0o755)
            _unpack(tarball, made)
            _rewrite(made)
            _compress(made)
            _write_manifest(made, release)
            _put(made, folder, scratch / "old")
    installed = read(folder)
    assert installed is not None
    return installed


def remove(folder: Path) -> bool:
    """Remove the viewer in a folder, and the folder; returns whether there was one."""
    folder = folder.resolve()
    if version_in(folder) is None:
        return False
    with alone_in(folder.parent):
        _remove_leftovers(folder)
        with _scratch(folder) as scratch:
            folder.rename(scratch / "old")
    return True


def version_in(folder: Path) -> str | None:
    """The version of what was installed in a folder, though it may be of no use; None if nothing was."""
    try:
        found = read(folder)
    except ViewerUnusable:
        return "unknown"
    return None if found is None else found.version


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder beside one, from which something is moved to its place by its name alone."""
    with tempfile.TemporaryDirectory(prefix=_scratch_prefix(folder), dir=folder.parent) as scratch:
        yield Path(scratch)


def _scratch_prefix(folder: Path) -> str:
    # Nobody else gives such a name, as what has it is removed.
    return f".{folder.name}.dicomnet-viewer-"


def _remove_leftovers(folder: Path) -> None:
    """Remove what one who was killed has left beside a folder; nobody else is at work there."""
    for each in folder.parent.glob(f"{glob.escape(_scratch_prefix(folder))}*"):
        shutil.rmtree(each, ignore_errors=True)


def _put(made: Path, folder: Path, old: Path) -> None:
    """Move a folder to its place, and away what is there; both or nothing."""
    had_one = folder.exists()
    if had_one:
        folder.rename(old)
    try:
        made.rename(folder)
    except OSError:
        if had_one:
            old.rename(folder)
        raise


def _check_digest(tarball: Path, release: Release) -> None:
    with tarball.open("rb") as file:
        found = hashlib.file_digest(file, "sha512").hexdigest()
    if found != release.digest:
        raise ViewerUnusable(
            str(tarball),
            f"this is not the tarball of {release.package}@{release.version}: its SHA-512 is {found}",
        )


def _unpack(tarball: Path, into: Path) -> None:
    """Write what is wanted of the package."""
    total = 0
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for number, member in enumerate(archive):
                total += member.size
                if number >= _MOST_FILES or total > _LARGEST:
                    raise ViewerUnusable(str(tarball), "it has more in it than such a package has")
                name = _wanted(tarball, member)
                if name is None:
                    continue
                content = archive.extractfile(member)
                assert content is not None
                path = into / name
                path.parent.mkdir(parents=True, exist_ok=True)
                # Two members of a name are one too many.
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ViewerUnusable(str(tarball), f"it cannot be unpacked: {error}") from None
    except FileExistsError:
        raise ViewerUnusable(str(tarball), "it has two files in one place") from None
    if not (into / INDEX).is_file():
        raise ViewerUnusable(str(tarball), f"there is no dist/{INDEX} in it")


def _wanted(tarball: Path, member: tarfile.TarInfo) -> str | None:
    """Where a member is written, None if it is not."""
    try:
        path = PurePosixPath(_checked(member.name))
    except ValueError:
        raise ViewerUnusable(str(tarball), f"{member.name!r} is outside of it") from None
    if member.isdir():
        return None
    if not member.isreg():
        raise ViewerUnusable(str(tarball), f"{member.name!r} is a link or a device")
    if path.parts == ("package", "LICENSE"):
        return "LICENSE"
    if path.parts[:2] != ("package", "dist"):
        return None
    name = "/".join(path.parts[2:])
    return None if not name or name == MANIFEST or _LEFT_OUT.fullmatch(name) else name


def _checked(name: str) -> str:
    """A path that leaves no folder; raises ValueError for another one."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError(name)
    return name


def _rewrite(folder: Path) -> None:
    """Have it live below our prefix, with our configuration and no script inside its page."""
    prefix = PREFIX.encode()
    index = folder / INDEX
    page = _SCRIPT_INSIDE.sub(b"", _SCRIPT_OF_THE_WORKER.sub(b"", index.read_bytes()))
    page = re.sub(rb'(src|href|content)="/(?!/)', rb'\1="' + prefix, page)
    index.write_bytes(page)
    for path in folder.rglob("*"):
        if path.suffix == ".js":
            old, new = b'__webpack_require__.p = "/"', b'__webpack_require__.p = "%s"' % prefix
        elif path.suffix == ".css":
            old, new = b"url(/", b"url(%s" % prefix
        elif path.suffix == ".json":
            old, new = b'"/assets/', b'"%sassets/' % prefix
        else:
            continue
        content = path.read_bytes()
        if old in content:
            path.write_bytes(content.replace(old, new))
    (folder / _CONFIGURATION).write_text(_configuration(), encoding="utf-8")


def _configuration() -> str:
    source = {
        "friendlyName": "dicomnet",
        "name": "dicomnet",
        "qidoRoot": _DICOMWEB,
        "wadoRoot": _DICOMWEB,
        "wadoUriRoot": _DICOMWEB,
        "qidoSupportsIncludeField": False,
        "imageRendering": "wadors",
        "thumbnailRendering": "wadors",
        "enableStudyLazyLoad": True,
        "supportsFuzzyMatching": False,
        "supportsWildcard": True,
        "singlepart": "bulkdata,video,pdf",
        "bulkDataURI": {"enabled": True},
        "omitQuotationForMultipartRequest": True,
    }
    config = {
        "routerBasename": PREFIX.rstrip("/"),
        "extensions": [],
        "modes": [],
        "customizationService": {},
        "showStudyList": True,
        "maxNumberOfWebWorkers": 3,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": True,
        "showLoadingIndicator": True,
        "strictZSpacingForVolumeViewport": True,
        "groupEnabledModesFirst": True,
        "maxNumRequests": {"interaction": 100, "thumbnail": 5, "prefetch": 25},
        "investigationalUseDialog": {"option": "always"},
        "defaultDataSourceName": "dicomnet",
        "dataSources": [
            {
                "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
                "sourceName": "dicomnet",
                "configuration": source,
            }
        ],
    }
    # The first two were scripts inside the page, which our content security policy does not allow.
    return (
        f"window.PUBLIC_URL = {json.dumps(PREFIX)};\n"
        "function browserImportFunction(name) { return import(name); }\n"
        f"window.config = {json.dumps(config, indent=2)};\n"
    )


def _compress(folder: Path) -> None:
    """Write beside each large text what is sent of it to those who take gzip, which is nearly everybody."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in _COMPRESSED and path.is_file() and path.stat().st_size >= _SHORTEST:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 6, mtime=0))


def _write_manifest(folder: Path, release: Release) -> None:
    files = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    content = {"form": _FORM, "package": release.package, "version": release.version, "files": files}
    (folder / MANIFEST).write_text(json.dumps(content, indent=1), encoding="utf-8")

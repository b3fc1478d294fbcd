"""`dicomnet viewer`: installs, shows and removes the full viewer that a node serves."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ..plurals import counted
from .arguments import FAILED, OK, Parser
from .words import complain, printable

if TYPE_CHECKING:
    from argparse import Namespace

ACTIONS = ("install", "show", "remove")


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "OHIF, the full viewer, which a node serves at /ohif/ as soon as it is installed. install fetches its package\n"
        "of npm (50 MB), checks that it is the one that this version was made for, and writes what is needed of it.",
        "dicomnet viewer install\n"
        "dicomnet viewer install --from ohif-app-3.13.2.tgz --to /var/lib/dicomnet/ohif\n"
        "dicomnet viewer show\n"
        "dicomnet viewer remove --to /var/lib/dicomnet/ohif",
    )
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help="install, show or remove")
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FOLDER",
        help="the folder, which web.viewer of a node names (dicomnet/ohif in the folder of the user's data)",
    )
    parser.add_argument(
        "--from",
        dest="tarball",
        type=Path,
        metavar="TARBALL",
        help="the package as npm pack gives it, where npm is not at hand",
    )


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    from ..archive.viewer import usual_folder

    folder = options.to or usual_folder()
    return {"install": _install, "show": _show, "remove": _remove}[options.action](options, folder)


def _install(options: Namespace, folder: Path) -> int:
    from ..archive.viewer import download, install

    if options.tarball is not None:
        viewer = install(options.tarball, folder)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            viewer = install(download(Path(scratch)), folder)
    if not options.quiet:
        print(f"OHIF {viewer.version} is installed in {printable(str(folder))}")
        if options.to is not None:
            print("a node serves it whose configuration has it as web.viewer")
    return OK


def _show(options: Namespace, folder: Path) -> int:
    from ..archive.viewer import read

    viewer = read(folder)
    if viewer is None:
        return _complain(folder)
    size = sum(viewer.files.values()) / 1_000_000
    print(
        f"OHIF {viewer.version} in {printable(str(folder))}: {counted(len(viewer.files), 'file')}, {size:.0f} MB"
    )
    return OK


def _remove(options: Namespace, folder: Path) -> int:
    from ..archive.viewer import remove

    if not remove(folder):
        return _complain(folder)
    if not options.quiet:
        print(f"the viewer in {printable(str(folder))} is removed")
    return OK


def _complain(folder: Path) -> int:
    complain(f"dicomnet viewer: there is no viewer in {printable(str(folder))}")
    return FAILED

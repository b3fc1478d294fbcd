"""Which Orthanc is measured: the one that is installed, or that of another release of Debian in a folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from .processes import Absent, Command
from .subjects import TUNED

ORTHANC = "Orthanc"
# Names the folder, as debootstrap makes it, where it is not the one that is installed.
_ROOT = "ORTHANC_ROOT"


@dataclass(frozen=True, slots=True)
class Orthanc:
    """An Orthanc that can be started.

    Parameters
    ----------
    command
        What comes before its configuration file.
    plugin
        Its DICOMweb plugin; None where it has none.
    environment
        What it needs of its environment.
    """

    command: tuple[str, ...]
    plugin: Path | None
    environment: dict[str, str] = field(default_factory=dict)

    def started_with(self, configuration: Path) -> Command:
        """The command that starts it."""
        return Command((*self.command, str(configuration)), {**TUNED, **self.environment})

    @property
    def version(self) -> str:
        """Its version, as it says."""
        said = subprocess.run([*self.command, "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[1]


def orthanc() -> Orthanc:
    """The one to measure; raises `Absent` where there is none."""
    root = Path(os.environ.get(_ROOT, "/")).resolve()
    plugin = next(iter(sorted(root.glob("usr/lib/orthanc/libOrthancDicomWeb.so*"))), None)
    if root == Path("/"):
        program = shutil.which(ORTHANC)
        if program is None:
            raise Absent("not installed")
        return Orthanc((program,), plugin)
    loader = next(iter(sorted(root.glob("usr/lib*/ld-linux-*.so.*"))), None)
    program = str(root / "usr/sbin" / ORTHANC)
    if loader is None or not Path(program).exists():
        raise Absent(f"not in {_ROOT}")
    # With the libraries of that release, and in the same place as all others, without chroot.
    libraries = ":".join(map(str, [*root.glob("usr/lib/*-linux-gnu"), root / "usr/lib"]))
    return Orthanc(
        (str(loader), "--library-path", libraries, program),
        plugin,
        {"DCMDICTPATH": str(root / "usr/share/dcmtk/dicom.dic")},
    )

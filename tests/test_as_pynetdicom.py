"""Programs that import pynetdicom, run on this package; pynetdicom itself tells what names they may expect."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pynetdicom
import pytest
from tests.support import run_tool

from dicomnet import install_as_pynetdicom

RUNNER = (sys.executable, "-m", "dicomnet.as_pynetdicom")
INSTALLED = "import dicomnet; dicomnet.install_as_pynetdicom()\n"
# What the documentation of pynetdicom lists, without what is inside its provider.
MODULES = [
    "_config",
    "_globals",
    "ae",
    "apps",
    "association",
    "dimse_messages",
    "dimse_primitives",
    "dsutils",
    "events",
    "pdu",
    "pdu_items",
    "pdu_primitives",
    "presentation",
    "service_class",
    "service_class_n",
    "sop_class",
    "status",
    "transport",
    "utils",
]


HOMES = {"apps": "dicomnet.apps", "_config": "dicomnet._config"}


def run(code: str) -> str:
    """Run a program in a process of its own; gives what it printed."""
    done = run_tool([sys.executable, "-c", code])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_public_name_is_there() -> None:
    names = pynetdicom.__all__
    code = f"from pynetdicom import {', '.join(names)}\nimport pynetdicom\n"
    run(INSTALLED + code + "import dicomnet; assert pynetdicom is dicomnet.pynetdicom")


@pytest.mark.parametrize("name", MODULES)
def test_every_documented_module_is_there(name: str) -> None:
    home = HOMES.get(name, f"dicomnet.pynetdicom.{name}")
    code = f"import pynetdicom.{name} as one, {home} as other; from pynetdicom import {name} as third\n"
    code += f"import sys; assert one is other is third is sys.modules['pynetdicom.{name}']\n"
    run(INSTALLED + code + f"assert one.__spec__.name == one.__name__ == '{home}'")


def test_either_name_may_come_first() -> None:
    code = "from pynetdicom.sop_class import Verification as one\n"
    code += "from dicomnet.pynetdicom.sop_class import Verification as two\n"
    run(INSTALLED + code + "assert one is two")
    code = "import dicomnet.pynetdicom.ae; from dicomnet import AE as one; import dicomnet\n"
    code += "dicomnet.install_as_pynetdicom(); from pynetdicom.ae import ApplicationEntity as two\n"
    run(code + "assert one is two")


def test_a_program_that_moves_by_hand_changes_the_name_of_the_package_alone() -> None:
    """The example of the documentation, on this package and with the other name on pynetdicom itself."""
    text = (Path(__file__).parents[1] / "docs" / "from-pynetdicom.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    assert "dicomnet.pynetdicom" in example
    said = "C-ECHO from EXAMPLE\nanswered with 0x0000\n"
    assert run(example) == said
    assert run(example.replace("dicomnet.pynetdicom", "pynetdicom")) == said


def test_installing_twice_is_installing_once() -> None:
    code = "import sys; before = len(sys.meta_path)\n" + INSTALLED + INSTALLED
    run(code + "assert len(sys.meta_path) == before + 1; from pynetdicom import AE")


def test_it_is_too_late_after_the_real_one() -> None:
    with pytest.raises(RuntimeError, match="imported already"):
        install_as_pynetdicom()
    assert sys.modules["pynetdicom"] is pynetdicom
    assert logging.getLogger("dicomnet").parent is logging.root


@pytest.mark.parametrize("name", ["dul", "dimse", "fsm", "nothing_of_this_name", "ae.nothing"])
def test_what_is_missing_is_named(name: str) -> None:
    code = f"try: import pynetdicom.{name}\nexcept ModuleNotFoundError as error: print(error.name, error)"
    assert f"pynetdicom.{name}" in run(INSTALLED + code)


def test_its_logger_governs_ours() -> None:
    code = (
        "import logging, io; logging.getLogger('dicomnet.pynetdicom.ae').isEnabledFor(20)\n"
        + INSTALLED
        + "logger = logging.getLogger('pynetdicom'); text = io.StringIO()\n"
        "logger.addHandler(logging.StreamHandler(text)); logger.propagate = False\n"
        "logger.setLevel(logging.ERROR)\n"
        "from pynetdicom import AE; ae = AE(); ae.acse_timeout = 'x'; print(len(text.getvalue()))\n"
        "logger.setLevel(logging.WARNING); ae.acse_timeout = 'x'; print(len(text.getvalue()) > 0)"
    )
    assert run(code).split() == ["0", "True"]


def test_debug_logger_turns_on_what_its_logger_governs() -> None:
    code = (
        INSTALLED
        + "import logging; from pynetdicom import debug_logger; debug_logger(); debug_logger()\n"
        + "import json; root = logging.getLogger('pynetdicom')\n"
        + "print(json.dumps([len(root.handlers), root.level, logging.getLogger('dicomnet').handlers]))\n"
        + "print(logging.getLogger('dicomnet.pynetdicom.ae').isEnabledFor(10)); root.setLevel('INFO')\n"
        + "print(logging.getLogger('dicomnet.pynetdicom.ae').isEnabledFor(10))"
    )
    first, *others = run(code).splitlines()
    assert json.loads(first) == [1, 10, []]
    assert others == ["True", "False"]


_TALK = """
from pynetdicom import AE, evt
ae = AE(); ae.add_supported_context('1.2.840.10008.1.1'); ae.add_requested_context('1.2.840.10008.1.1')
server = ae.start_server(('127.0.0.1', 0), block=False)
assoc = ae.associate('127.0.0.1', server.server_address[1]); assoc.send_c_echo(); assoc.release(); ae.shutdown()
"""


@pytest.mark.parametrize(
    "turn_on",
    [
        "import pynetdicom; pynetdicom.debug_logger()",
        "import logging; logging.basicConfig(); logging.getLogger('pynetdicom').setLevel(logging.DEBUG)",
        "import logging; logging.basicConfig(); logging.getLogger('dicomnet').setLevel(logging.DEBUG)",
    ],
)
def test_debug_level_shows_what_happens(turn_on: str) -> None:
    """R08: nothing at all was logged."""
    code = INSTALLED + "import sys; sys.stderr = sys.stdout\n" + turn_on + _TALK
    said = run(code)
    for words in (
        "sent A-ASSOCIATE-RQ: ",
        "context 1: Verification accepted in ",
        "received P-DATA-TF: C-ECHO-RSP 1 in context 1: Status 0x0000 (success)",
        "association released",
    ):
        assert words in said
    assert len(said.splitlines()) > 20


def test_a_program_that_sets_up_no_logging_is_told_nothing() -> None:
    """R24: the logger of pynetdicom has one NullHandler, however often this is installed."""
    code = (
        INSTALLED
        + INSTALLED
        + "import logging, sys; sys.stderr = sys.stdout\n"
        + "print([type(each).__name__ for each in logging.getLogger('pynetdicom').handlers])\n"
        + "from pynetdicom import AE; AE().acse_timeout = 'x'"
    )
    assert run(code) == "['NullHandler']\n"


def test_flags_are_looked_up_late() -> None:
    code = (
        "from pynetdicom import _config, build_context; _config.ENFORCE_UID_CONFORMANCE = True\n"
        "from pynetdicom.dimse_primitives import C_ECHO; import warnings; warnings.simplefilter('ignore')\n"
        "try: C_ECHO().AffectedSOPClassUID = '1.2.03'\n"
        "except ValueError: print('refused')"
    )
    assert run(INSTALLED + code).strip() == "refused"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A program in a folder with a module of its own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "beside_it.py").write_text("import pynetdicom\nNAME = pynetdicom.AE.__module__\n")
    path = folder / "program.py"
    path.write_text(
        "import sys, beside_it\nfrom pynetdicom.sop_class import Verification\n"
        "if __name__ == '__main__':\n    print(beside_it.NAME, Verification, *sys.argv[1:])\n    sys.exit(3)\n"
    )
    return path


def test_a_script_runs_unchanged(script: Path, tmp_path: Path) -> None:
    done = run_tool([*RUNNER, str(script), "-m", "more"], cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("dicomnet.pynetdicom.ae 1.2.840.10008.1.1 -m more\n", 3), (
        done.stderr
    )


def test_a_module_runs_unchanged(script: Path) -> None:
    done = run_tool([*RUNNER, "-m", "program", "one"], cwd=script.parent)
    assert (done.stdout, done.returncode) == ("dicomnet.pynetdicom.ae 1.2.840.10008.1.1 one\n", 3), (
        done.stderr
    )


def test_the_module_pynetdicom_is_our_command() -> None:
    done = run_tool([*RUNNER, "-m", "pynetdicom", "--version"])
    assert done.stdout.startswith("dicomnet ")
    assert done.returncode == 0


def test_usage() -> None:
    for arguments in ((), ("-m",)):
        done = run_tool([*RUNNER, *arguments])
        assert (done.stdout, done.returncode) == ("", 2)
        assert done.stderr.startswith("usage: python -m dicomnet.as_pynetdicom")
    assert subprocess.run([*RUNNER, "--help"], capture_output=True, check=True).stdout

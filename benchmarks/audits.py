"""What the audit trail costs the archive node: its processor time for what it stores and what it is asked.

The node writes the trail in a thread of its own, once a second, so that it is waited for until that is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import sleep

from pydicom.dataset import Dataset

from .archives import store_command
from .asking import Requestor
from .databases import File
from .model import OURS, Case, Group, Measure, Metric, Workspace
from .nodes import Node, running
from .processes import Command, run

_LENGTH = 20_000
_STORED = Metric("stored", "the node's processor time for an object", "us")
_FOUND = Metric("found", "the same for a C-FIND", "us")
# Until the thread that writes has written, in seconds.
_WRITTEN = 2.5


def _recorded(is_on: bool, objects: int, queries: int) -> Measure:
    def measure(workspace: Workspace) -> Mapping[str, float]:
        folder, store = workspace.objects.folder(objects, _LENGTH, "audit"), workspace.kept("audit")
        environment = {"DICOMNET_AUDIT_ENABLED": "true" if is_on else "false"}
        with running(File(store / "index.sqlite"), store, environment=environment) as node:
            # What is done once is not what is measured.
            run(store_command(node.port, workspace.objects.folder(1, _LENGTH, "first")))
            _ask(node, 50)
            stored = _used(node, store_command(node.port, folder))
            found = _used(node, queries)
        return {_STORED.key: 1e6 * stored / objects, _FOUND.key: 1e6 * found / queries}

    return measure


def _used(node: Node, work: Command | int) -> float:
    """The processor time of the node for what a command does with it, or for so many queries, in seconds."""
    sleep(_WRITTEN)
    before = node.used()
    if isinstance(work, int):
        _ask(node, work)
    else:
        run(work)
    sleep(_WRITTEN)
    return node.used() - before


def _ask(node: Node, count: int) -> None:
    requestor = Requestor(node.port)
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.PatientName = identifier.StudyInstanceUID = identifier.StudyDate = identifier.PatientID = ""
    identifier.AccessionNumber = "nothing has this"
    for _ in range(count):
        requestor.ask(identifier)
        requestor.finish()
    requestor.release()


def groups(quick: bool) -> tuple[Group, ...]:
    """Group q."""
    objects, queries = (500, 500) if quick else (3000, 3000)
    return (
        Group(
            "q",
            f"the audit trail: {objects} objects of {_LENGTH / 1000:g} kB by C-STORE, then {queries} queries",
            (_STORED, _FOUND),
            (
                Case(f"{OURS}, audit.enabled", _recorded(True, objects, queries)),
                Case(f"{OURS}, without", _recorded(False, objects, queries)),
            ),
        ),
    )

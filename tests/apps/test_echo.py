"""`echoscu` and `echoscp`: with pynetdicom on the other side, and beside pynetdicom's own tools."""

from __future__ import annotations

import queue
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, build_context, evt
from tests.apps.tools import PACKAGES, foreign_scp, run, running_scp
from tests.sockets import VERIFICATION
from tests.support import free_port

EXPLICIT, BIG, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"


def request_of(package: str, *options: str) -> Any:
    """The A-ASSOCIATE primitive that an SCP of pynetdicom gets, and the numbers of echoes and ends."""
    seen: dict[str, int] = {"echo": 0, "released": 0, "aborted": 0}
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    over: queue.SimpleQueue[str] = queue.SimpleQueue()

    def echo(event: Any) -> int:
        seen["echo"] += 1
        return 0

    def ended(event: Any, how: str) -> None:
        seen[how] += 1
        over.put(how)

    handlers = [
        (evt.EVT_C_ECHO, echo),
        (evt.EVT_REQUESTED, lambda event: requests.put(event.assoc.requestor.primitive)),
        (evt.EVT_RELEASED, ended, ["released"]),
        (evt.EVT_ABORTED, ended, ["aborted"]),
    ]
    with foreign_scp(handlers) as port:
        done = run("echoscu", "127.0.0.1", str(port), *options, package=package)
        assert done.returncode == 0, done.stderr
        over.get(timeout=10)
    primitive = requests.get(timeout=10)
    (context,) = primitive.presentation_context_definition_list
    return (
        primitive.calling_ae_title,
        primitive.called_ae_title,
        primitive.maximum_length_received,
        context.abstract_syntax,
        sorted(context.transfer_syntax),
        seen,
    )


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-aet", "US", "-aec", "THEM", "-pdu", "4096"),
        ("-xb", "--repeat", "3"),
        ("-xi", "--abort"),
        ("--request-little", "--max-pdu", "0", "-ta", "5", "-td", "5", "-tn", "5"),
    ],
)
def test_it_asks_for_the_same(options: tuple[str, ...]) -> None:
    ours, theirs = (request_of(package, *options) for package in PACKAGES)
    assert ours == theirs


def test_what_is_said() -> None:
    with foreign_scp() as port:
        silent = run("echoscu", "127.0.0.1", str(port))
        verbose = run("echoscu", "127.0.0.1", str(port), "-ll", "info")
    assert (silent.stdout, silent.stderr) == ("", "")
    assert "I: C-ECHO: 0x0000 (Success)\n" in verbose.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_nobody_listens(package: str) -> None:
    said = run("echoscu", "127.0.0.1", str(free_port()), package=package)
    quiet = run("echoscu", "127.0.0.1", str(free_port()), "--quiet", package=package)
    assert (said.returncode, quiet.returncode, quiet.stderr) == (1, 1, "")
    assert "refused" in said.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_rejection_is_a_failure(package: str) -> None:
    with foreign_scp(title="STRICT") as port:
        assert run("echoscu", "127.0.0.1", str(port), package=package).returncode == 1
        assert run("echoscu", "127.0.0.1", str(port), "-aec", "STRICT", package=package).returncode == 0


def test_a_status_of_failure_is_a_failure() -> None:
    """pynetdicom's says that all is well."""
    with foreign_scp([(evt.EVT_C_ECHO, lambda event: 0x0122)]) as port:
        done = run("echoscu", "127.0.0.1", str(port))
    assert done.stderr == "E: C-ECHO: 0x0122 (Failure)\n"
    assert done.returncode == 1


def accepted(port: int, title: str = "ANY-SCP") -> tuple[str, int]:
    """The transfer syntax that an SCP accepts of four, and the status of an echo."""
    syntaxes = [IMPLICIT, "1.2.840.10008.1.2.1.99", BIG, EXPLICIT]
    assoc = AE().associate("127.0.0.1", port, [build_context(VERIFICATION, syntaxes)], ae_title=title)
    assert assoc.is_established
    syntax = str(assoc.accepted_contexts[0].transfer_syntax[0])
    status = assoc.send_c_echo().Status
    assoc.release()
    return syntax, status


@pytest.mark.parametrize("options", [(), ("-x=",), ("-xe",), ("-xb",), ("-xi",), ("--prefer-big",)])
def test_the_scp_prefers_the_same(options: tuple[str, ...], tmp_path: Path) -> None:
    found = []
    for package in PACKAGES:
        with running_scp(tmp_path, "echoscp", *options, package=package) as port:
            found.append(accepted(port))
    assert found[0] == found[1]


def test_a_signal_ends_the_scp_in_order(tmp_path: Path) -> None:
    with running_scp(tmp_path, "echoscp", "-v") as port:
        assert accepted(port)[1] == 0
    assert (tmp_path / "output.txt").read_text().endswith("the server is shut down by an interrupt\n")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with running_scp(tmp_path, "echoscp") as port:
        done = run("echoscp", str(port), "-ba", "127.0.0.1")
    assert (done.stderr, done.returncode) == (f"echoscp: port {port} is in use already\n", 1)

"""A node with DICOMweb in this process, and a plain client for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.archive.web.clients import WebNode

from dicomnet.archive.node import Node
from dicomnet.archive.terms import Terms
from dicomnet.drivers.transport import listen


@pytest.fixture
def web_node(tmp_path: Path) -> Iterator[Callable[..., WebNode]]:
    """Start a node; with its terms, where they are not the usual ones."""
    started: list[Node] = []

    def start(terms: Terms | None = None) -> WebNode:
        folder = tmp_path / f"node{len(started)}"
        node = Node(folder, address=("127.0.0.1", 0), terms=terms, web=listen(("127.0.0.1", 0)))
        started.append(node)
        node.start()
        return WebNode(node, folder)

    yield start
    for node in started:
        node.shutdown()

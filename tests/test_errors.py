"""The exception tree: as its docstring draws it, with values in fields, one sentence each, and able to be pickled."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import pytest
from tests.grids import grid

from dicomnet import errors
from dicomnet.errors import (
    ABORT_REASONS,
    REJECT_REASONS,
    AssociationAborted,
    AssociationClosed,
    AssociationError,
    AssociationRejected,
    AssociationReleased,
    ConnectionFailed,
    ConnectionLost,
    DatabaseFailure,
    DeadlineExceeded,
    DicomnetError,
    HTTPRefusal,
    IndexUnusable,
    JournalUnusable,
    LedgerUnusable,
    NetworkError,
    NoAcceptedContext,
    ProtocolError,
    ServiceRefusal,
    StoreInUse,
    TLSFailed,
    Trouble,
    UnusableObject,
    UsersUnusable,
    ViewerUnusable,
)
from dicomnet.services.steps import answer_of

CLASSES = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, Exception) and each.__module__ == errors.__name__
}

# Each exception, what its sentence has to contain, and its fields.
CASES: dict[str, tuple[DicomnetError, list[str], dict[str, object]]] = {
    "base": (DicomnetError("something"), ["something"], {}),
    "network": (NetworkError("something"), ["something"], {}),
    "association": (AssociationError("something"), ["something"], {}),
    "connection failed": (
        ConnectionFailed("pacs.example", 11112, "connection refused"),
        ["pacs.example", "11112", "connection refused"],
        {"host": "pacs.example", "port": 11112, "cause": "connection refused"},
    ),
    "TLS failed": (
        TLSFailed("certificate expired"),
        ["TLS", "certificate expired"],
        {"cause": "certificate expired"},
    ),
    "deadline": (
        DeadlineExceeded("message", 2.5),
        ["message", "2.5 s"],
        {"stage": "message", "seconds": 2.5},
    ),
    "deadline of no time": (
        DeadlineExceeded("connect", None),
        ["connect"],
        {"stage": "connect", "seconds": None},
    ),
    "HTTP connection lost": (
        ConnectionLost("connection reset"),
        ["lost", "connection reset"],
        {"cause": "connection reset"},
    ),
    "HTTP connection lost, and why is not known": (ConnectionLost(), ["lost"], {"cause": ""}),
    "HTTP": (
        HTTPRefusal(503, 0xA700, "the peer cannot serve this now", "maintenance", 30.0),
        ["503", "cannot serve", "maintenance"],
        {"code": 503, "status": 0xA700, "comment": "maintenance", "retry_after": 30.0},
    ),
    "rejected": (
        AssociationRejected(1, 1, 7),
        ["permanently", "service user", "called AE title"],
        {"result": 1, "source": 1, "reason": 7, "is_transient": False},
    ),
    "rejected for now": (
        AssociationRejected(2, 3, 2),
        ["for now", "presentation", "local limit"],
        {"result": 2, "source": 3, "reason": 2, "is_transient": True},
    ),
    "rejected with values of no table": (
        AssociationRejected(9, 8, 77),
        ["9", "8", "77"],
        {"result": 9, "source": 8, "reason": 77, "is_transient": False},
    ),
    "aborted by the user": (
        AssociationAborted(0),
        ["aborted", "peer"],
        {"source": 0, "reason": 0, "cause": ""},
    ),
    "aborted by the provider": (
        AssociationAborted(2, 1),
        ["provider", "unrecognised PDU"],
        {"source": 2, "reason": 1, "cause": ""},
    ),
    "aborted by the provider for a reason of no table": (
        AssociationAborted(2, 99),
        ["99"],
        {"source": 2, "reason": 99, "cause": ""},
    ),
    "connection lost": (AssociationAborted(None), ["closed"], {"source": None, "reason": 0, "cause": ""}),
    "aborted, cause known": (
        AssociationAborted(2, 6, "a PDU was too long"),
        ["a PDU was too long"],
        {"source": 2, "reason": 6, "cause": "a PDU was too long"},
    ),
    "closed": (AssociationClosed(), ["not established"], {"cause": ""}),
    "closed by an end that is known": (
        AssociationClosed("association aborted by the peer"),
        ["aborted by the peer"],
        {"cause": "association aborted by the peer"},
    ),
    "released": (AssociationReleased(False), ["released", "peer"], {"was_awaited": False}),
    "released early": (
        AssociationReleased(True),
        ["released", "peer", "before the final response"],
        {"was_awaited": True},
    ),
    "nothing accepted": (
        NoAcceptedContext("1.2.840.10008.1.1"),
        ["1.2.840.10008.1.1"],
        {"abstract_syntax": "1.2.840.10008.1.1", "transfer_syntax": None, "accepted": ()},
    ),
    "accepted with others": (
        NoAcceptedContext("1.2", "1.3", ("1.4", "1.5")),
        ["1.2", "1.3", "1.4", "1.5"],
        {"abstract_syntax": "1.2", "transfer_syntax": "1.3", "accepted": ("1.4", "1.5")},
    ),
    "protocol": (
        ProtocolError("a PDU is too long", 6),
        ["a PDU is too long"],
        {"cause": "a PDU is too long", "source": 2, "reason": 6},
    ),
    "refusal": (
        ServiceRefusal(0xA700, "out of resources", (0x00100010,)),
        ["0xA700", "out of resources"],
        {"status": 0xA700, "comment": "out of resources", "offending": (0x00100010,)},
    ),
    "refusal without comment": (
        ServiceRefusal(0x0122),
        ["0x0122"],
        {"status": 0x0122, "comment": "", "offending": ()},
    ),
    "unusable": (
        UnusableObject("it has no SOP Class UID"),
        ["it has no SOP Class UID"],
        {"cause": "it has no SOP Class UID"},
    ),
    "journal unusable": (
        JournalUnusable("sent.db", "another run uses it"),
        ["sent.db", "another run uses it"],
        {"path": "sent.db", "cause": "another run uses it"},
    ),
    "users unusable": (
        UsersUnusable("users.toml", "others can read it"),
        ["users.toml", "others can read it"],
        {"path": "users.toml", "cause": "others can read it"},
    ),
    "viewer unusable": (
        ViewerUnusable("a.tgz", "it has a link"),
        ["a.tgz", "it has a link"],
        {"name": "a.tgz", "cause": "it has a link"},
    ),
    "store in use": (StoreInUse("store"), ["store"], {"root": "store"}),
    "index unusable": (
        IndexUnusable("index.db", "not a database"),
        ["index.db", "not a database", "from the files"],
        {"path": "index.db", "cause": "not a database"},
    ),
    "ledger unusable": (
        LedgerUnusable("ledger.db", "it is of revision 9"),
        ["ledger.db", "revision 9"],
        {"database": "ledger.db", "cause": "it is of revision 9"},
    ),
    "database damaged": (
        DatabaseFailure("index.db", Trouble.DAMAGED, "malformed"),
        ["index.db", "damaged", "malformed"],
        {"database": "index.db", "trouble": Trouble.DAMAGED, "is_damage": True, "is_passing": False},
    ),
    "database locked": (
        DatabaseFailure("index.db", Trouble.LOCKED, "database is locked"),
        ["index.db", "another process", "database is locked"],
        {"cause": "database is locked", "is_damage": False, "is_passing": True},
    ),
}


def drawn_tree() -> dict[str, list[str]]:
    """Each class of the docstring's tree with its bases: the one it hangs on, then the "also" in brackets."""
    parents: dict[str, list[str]] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}([│ ├└─]*)(\w+)(?: \(also (\w+)\))?(?: {2,}.*)?$", line)
        if match is None:
            continue
        branch, name, also = match.groups()
        depth = len(branch) // 4
        above[depth] = name
        parents[name] = [above[depth - 1]] if depth else []
        if also:
            parents[name].append(also)
    return parents


def test_the_docstring_draws_the_tree_that_there_is() -> None:
    drawn = drawn_tree()
    assert set(drawn) == set(CLASSES)
    for name, bases in drawn.items():
        assert [base.__name__ for base in CLASSES[name].__bases__] == (bases or ["Exception"])


def test_everything_is_caught_as_one() -> None:
    assert all(issubclass(each, DicomnetError) for each in CLASSES.values())
    assert {type(error) for error, _, _ in CASES.values()} == set(CLASSES.values())


@pytest.mark.parametrize("name", CASES)
def test_text_is_one_sentence_with_the_values(name: str) -> None:
    error, parts, _ = CASES[name]
    text = str(error)
    for part in parts:
        assert part in text
    assert text.strip() == text
    assert "\n" not in text
    assert ". " not in text
    assert not text.endswith(".")
    assert "None" not in text


@pytest.mark.parametrize("name", CASES)
def test_values_are_in_fields(name: str) -> None:
    error, _, fields = CASES[name]
    assert {field: getattr(error, field) for field in fields} == fields


@grid("name", CASES)
@grid("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_brings_back_type_text_and_fields(name: str, protocol: int) -> None:
    """Worker processes hand their errors to another process."""
    error, _, fields = CASES[name]
    for back in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert {field: getattr(back, field) for field in fields} == fields


NETWORK_ERRORS = [ConnectionFailed("pacs", 104, "refused"), DeadlineExceeded("idle", 3.0), TLSFailed("x")]


@pytest.mark.parametrize("error", NETWORK_ERRORS)
def test_network_errors_do_not_fill_errno_with_something_else(error: OSError) -> None:
    """Programs compare ``errno`` with numbers; a host name or a stage there would be misread."""
    assert (error.errno, error.strerror, error.filename) == (None, None, None)
    assert len(error.args) == len(vars(error))


def test_a_comment_fits_its_element() -> None:
    """Error Comment is LO: 64 characters. What is told here ended in the middle of a word there."""
    refusal = ServiceRefusal(0xA702, "failure: refused: out of resources, no sub-operation can be performed")
    assert str(refusal).endswith("no sub-operation can be performed")
    assert answer_of(refusal).elements["ErrorComment"] == refusal.comment[:64]
    assert len(ServiceRefusal(0xC000, "x" * 1000).comment) == 256


def test_the_tables_have_the_values_of_the_standard_and_no_others() -> None:
    """P039, PS3.8 Table 9-21; P043, section 9.3.8."""
    assert set(REJECT_REASONS) == {(1, 1), (1, 2), (1, 3), (1, 7), (2, 1), (2, 2), (3, 1), (3, 2)}
    assert set(ABORT_REASONS) == {0, 1, 2, 4, 5, 6}


def test_a_protocol_error_is_an_abort_of_the_provider() -> None:
    """P042."""
    assert ProtocolError("x").source == 2
    assert ProtocolError("x").reason in ABORT_REASONS

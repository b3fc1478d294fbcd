"""QIDO-RS: what is asked, page by page, and what odd answers lead to; in both faces."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.grids import grid
from tests.web import FACES, JSON, Asked, Says, Web, listed, match, web

from dicomnet import Basic, Bearer, Peer
from dicomnet.errors import ConnectionFailed, ConnectionLost, HTTPRefusal, ProtocolError, ServiceRefusal

Call = Callable[..., list[Any]]
UIDS = [f"1.2.{number}" for number in range(25)]
HTML = Says(200, b"<html><title>Log in</title></html>", {"Content-Type": "text/html; charset=utf-8"})


@pytest.fixture(params=FACES)
def call(request: pytest.FixtureRequest) -> Call:
    face: Call = FACES[request.param]
    return face


def answering(says: Says) -> Callable[[Asked], Says]:
    return lambda asked: says


def studies(uids: list[str]) -> list[dict[str, Any]]:
    return [match(StudyInstanceUID=uid, PatientName="Doe^Jane") for uid in uids]


def uids_of(found: list[Any]) -> list[str]:
    assert all(isinstance(each, Dataset) for each in found), found
    return [str(each.StudyInstanceUID) for each in found]


def paging(asked: Asked, uids: list[str], most: int) -> Says:
    """As PS3.18 section 8.3.4.4 says, by a server that gives so many matches at once."""
    offset = int(asked.query.get("offset", ["0"])[0])
    limit = min(int(asked.query["limit"][0]), most)
    page = uids[offset : offset + limit]
    left = len(uids) - offset - len(page)
    if not page:
        return Says(204)
    warning = {"Warning": f"299 web.example: There are {left} additional results that can be requested"}
    return listed(studies(page), **(warning if left else {}))


def test_a_peer_that_limits_its_answers_is_asked_for_the_rest(call: Call) -> None:
    with web(lambda asked: paging(asked, UIDS, 10)) as server:
        assert uids_of(call(server.url, lambda peer: peer.find("study"))) == UIDS
    offsets = [each.query.get("offset") for each in server.asked]
    assert offsets == [None, ["10"], ["20"]]


def test_no_more_is_asked_for_than_is_wanted(call: Call) -> None:
    from dicomnet.datasets.queries import build_query
    from dicomnet.exchange.contexts import FIND_MODELS

    identifier = build_query("study", {})
    with web(lambda asked: paging(asked, UIDS, 10)) as server:
        found = call(
            server.url, lambda peer: peer.find_identifier(identifier, FIND_MODELS["study"], limit=12)
        )
    assert uids_of(found) == UIDS[:12]
    assert [each.query["limit"] for each in server.asked] == [["12"], ["2"]]


def test_a_peer_that_gives_all_whatever_it_is_asked_for_is_asked_once(call: Call) -> None:
    many = [f"1.2.{number}" for number in range(1003)]
    with web(lambda asked: listed(studies(many))) as server:
        assert uids_of(call(server.url, lambda peer: peer.find("study"))) == many
    assert len(server.asked) == 1


def test_a_peer_that_gives_the_same_page_again_and_again_is_not_asked_for_ever(call: Call) -> None:
    many = [f"1.2.{number}" for number in range(1000)]
    with web(lambda asked: listed(studies(many))) as server:
        *found, error = call(server.url, lambda peer: peer.find("study"))
    assert uids_of(found) == many
    assert isinstance(error, ProtocolError)
    assert "same matches again" in str(error)
    assert len(server.asked) == 2


def test_what_moves_to_the_next_page_meanwhile_is_found_once(call: Call) -> None:
    """A study that came in between has pushed the others back."""

    def answer(asked: Asked) -> Says:
        uids = ["1.9.9", *UIDS] if len(server.asked) > 1 else UIDS
        return paging(asked, uids, 10)

    with web(answer) as server:
        assert uids_of(call(server.url, lambda peer: peer.find("study"))) == UIDS


def test_a_warning_that_is_about_something_else_does_not_ask_again(
    call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    warning = "299 web.example: The fuzzymatching parameter is not supported"
    with web(lambda asked: listed(studies(UIDS[:2]), Warning=warning)) as server:
        assert len(call(server.url, lambda peer: peer.find("study"))) == 2
    assert len(server.asked) == 1
    assert "fuzzymatching" in caplog.text


def test_nothing_found(call: Call) -> None:
    for says in (Says(204), listed([]), Says(200, b"", {})):
        with web(answering(says)) as server:
            assert call(server.url, lambda peer: peer.find("study")) == []


QUERIES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "wild cards as they are": ("study", {"PatientName": "Doe^J*n?"}, "/studies", "PatientName=Doe^J*n?"),
    "a range": ("study", {"StudyDate": "20240101-"}, "/studies", "StudyDate=20240101-"),
    "what parts parameters": (
        "study",
        {"PatientID": "a&b=c+d e%f#"},
        "/studies",
        "PatientID=a%26b=c%2Bd%20e%25f%23",
    ),
    "text beyond ASCII": ("study", {"PatientName": "Müller*"}, "/studies", "PatientName=M%C3%BCller*"),
    "a list": ("study", {"StudyInstanceUID": ["1.2", "1.3"]}, "/studies", "StudyInstanceUID=1.2,1.3"),
    "one UID": ("study", {"StudyInstanceUID": "1.2"}, "/studies", "StudyInstanceUID=1.2"),
    "series of a study": (
        "series",
        {"StudyInstanceUID": "1.2", "Modality": "CT"},
        "/studies/1.2/series",
        "Modality=CT",
    ),
    "series of any": ("series", {"Modality": "CT"}, "/series", "Modality=CT"),
    "objects of a series": (
        "image",
        {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "InstanceNumber": 4},
        "/studies/1.2/series/1.3/instances",
        "InstanceNumber=4",
    ),
    "objects of a study": (
        "image",
        {"StudyInstanceUID": "1.2", "Rows": 5},
        "/studies/1.2/instances",
        "Rows=5",
    ),
    "a path that is none": ("series", {"StudyInstanceUID": "../1"}, "/series", "StudyInstanceUID=../1"),
    "in a sequence": (
        "study",
        {"ProcedureCodeSequence": {"CodeValue": "X", "CodeMeaning": None}},
        "/studies",
        "ProcedureCodeSequence.CodeValue=X",
    ),
}


@grid("name", QUERIES)
def test_what_is_asked(name: str) -> None:
    level, keys, path, parameter = QUERIES[name]
    with web(lambda asked: listed([])) as server, Peer(server.url) as peer:
        assert list(peer.find(level, **keys)) == []
    (asked,) = server.asked
    assert asked.path == f"/dicom-web{path}"
    assert parameter in asked.target.partition("?")[2].split("&"), asked.target
    included = asked.query["includefield"][0].split(",")
    assert not set(included) & {each.partition("=")[0] for each in asked.target.partition("?")[2].split("&")}
    assert asked.headers["Accept"] == JSON


def test_matches_are_those_of_a_query_over_dimse(call: Call) -> None:
    """The level is said, the study that the path named too, and where bulk data lie is nobody's to visit."""
    with web(lambda asked: Says(404)) as elsewhere:
        model = match(SeriesInstanceUID="1.3", Modality="CT")
        model["00420011"] = {"vr": "OB", "BulkDataURI": f"{elsewhere.url}/bulk"}
        model["00081190"] = {"vr": "UR", "Value": [f"{elsewhere.url}/studies/1.2"]}
        with web(lambda asked: listed([model])) as server:
            (found,) = call(server.url, lambda peer: peer.find("series", StudyInstanceUID="1.2"))
    assert (found.QueryRetrieveLevel, found.StudyInstanceUID, found.Modality) == ("SERIES", "1.2", "CT")
    assert not found.EncapsulatedDocument
    assert elsewhere.asked == []


def test_a_match_that_cannot_be_read_costs_itself(call: Call) -> None:
    models = [*studies(UIDS[:1]), {"0020000D": {"vr": "XX"}}, *studies(UIDS[1:2])]
    with web(lambda asked: listed(models)) as server:
        *found, error = call(server.url, lambda peer: peer.find("study"))
    assert uids_of(found) == UIDS[:2]
    assert isinstance(error, ProtocolError)


def test_level_by_level(call: Call) -> None:
    def answer(asked: Asked) -> Says:
        if asked.path.endswith("/studies"):
            assert asked.query["StudyDate"] == ["20240101"]
            return listed(studies(UIDS[:2]))
        study = asked.path.split("/")[3]
        return listed([match(SeriesInstanceUID=f"{study}.1", Modality="CT")])

    with web(answer) as server:
        found = call(server.url, lambda peer: peer.walk("series", StudyDate="20240101", Modality="CT"))
    assert [[str(study.StudyInstanceUID), str(series.SeriesInstanceUID)] for study, series in found] == [
        [uid, f"{uid}.1"] for uid in UIDS[:2]
    ]


def test_what_there_is_not_over_http(call: Call) -> None:
    cases: list[tuple[Callable[[Any], Any], str]] = [
        (lambda peer: peer.find("patient", PatientID="1"), "no query of patients"),
        (lambda peer: peer.find("study", model="patient"), "Study Root"),
        (lambda peer: peer.walk("series", model="patient"), "Study Root"),
        (lambda peer: peer.move("DEST", "study", StudyInstanceUID="1.2"), "C-MOVE"),
        (lambda peer: peer.get("study", to="x", contexts={}, StudyInstanceUID="1.2"), "contexts"),
    ]
    with web(lambda asked: listed([])) as server:
        for use, words in cases:
            (error,) = call(server.url, use)
            assert isinstance(error, ValueError), error
            assert words in str(error)
    assert server.asked == []
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"transcode": "if-needed"}, "transcode"),
        ({"jobs": 0}, "at least 1"),
    ]
    for options, words in wrong:
        with pytest.raises(ValueError, match=words):
            Peer("https://127.0.0.1/dicom-web", **options)


ANSWERS: dict[str, tuple[Says, type[Exception], str]] = {
    "a page to log in": (HTML, ProtocolError, "text/html"),
    "no JSON": (Says(200, b"[{", {"Content-Type": JSON}), ProtocolError, "not JSON"),
    "no list": (Says(200, b'{"a": 1}', {"Content-Type": JSON}), ProtocolError, "not a list"),
    "bad request": (Says(400), HTTPRefusal, "400"),
    "who asks": (Says(401), HTTPRefusal, "token"),
    "not allowed": (Says(403), HTTPRefusal, "does not allow"),
    "not there": (Says(404), HTTPRefusal, "nothing under this address"),
    "a page of not found": (Says(404, HTML.body, HTML.headers), HTTPRefusal, "nothing under this address)"),
    "its own words": (
        Says(500, b'{"Details": "the index is\\nbroken"}', {"Content-Type": "application/json"}),
        HTTPRefusal,
        "): the index is",
    ),
    "no code of ours": (Says(418), HTTPRefusal, "418"),
    "the answer is cut off": (
        Says(200, b"[" + b" " * 99, {"Content-Type": JSON}, cut=5),
        ConnectionLost,
        "lost",
    ),
}


@grid("name", ANSWERS)
def test_odd_answers(name: str) -> None:
    says, kind, words = ANSWERS[name]
    for call in FACES.values():
        with web(lambda asked: says) as server:
            for use in (lambda peer: peer.find("study"), lambda peer: peer.echo()):
                (error,) = call(server.url, use, retries=0)
                assert type(error) is kind, (use, error)
                assert words in str(error)


def test_codes_have_the_status_of_dimse_that_says_the_same(call: Call) -> None:
    for code, status in ((401, 0x0124), (404, 0x0112), (501, 0x0211), (503, 0xA700), (500, 0x0110)):
        with web(answering(Says(code))) as server:
            (error,) = call(server.url, lambda peer: peer.find("study"), retries=0)
        assert isinstance(error, ServiceRefusal)
        assert (error.status, getattr(error, "code", None)) == (status, code)


def test_a_peer_that_is_busy_is_asked_again_when_it_says(call: Call) -> None:
    def answer(asked: Asked) -> Says:
        return (
            Says(503, headers={"Retry-After": "0"}) if len(server.asked) == 1 else listed(studies(UIDS[:1]))
        )

    with web(answer) as server:
        assert uids_of(call(server.url, lambda peer: peer.find("study"))) == UIDS[:1]
    assert len(server.asked) == 2


def test_a_peer_that_wants_to_be_left_alone_for_long_is(call: Call) -> None:
    with web(lambda asked: Says(429, headers={"Retry-After": "3600"})) as server:
        (error,) = call(server.url, lambda peer: peer.find("study"))
    assert isinstance(error, HTTPRefusal)
    assert error.retry_after == 3600
    assert len(server.asked) == 1


def test_a_connection_that_ends_without_an_answer_is_tried_once_more(call: Call) -> None:
    with web(lambda asked: None if len(server.asked) == 1 else listed(studies(UIDS[:1]))) as server:
        assert uids_of(call(server.url, lambda peer: peer.find("study"))) == UIDS[:1]


def test_nobody_listens(call: Call) -> None:
    with web(lambda asked: None) as server:
        url = server.url
    (error,) = call(url, lambda peer: peer.echo())
    assert isinstance(error, ConnectionFailed)
    assert "refused" in str(error)


def test_echo_says_how_long_the_answer_took(call: Call) -> None:
    with web(lambda asked: listed(studies(UIDS[:1]))) as server:
        (seconds,) = call(server.url, lambda peer: peer.echo())
    assert 0 < seconds < 10
    assert server.targets == ["/studies?limit=1"]


class Kept(logging.Handler):
    """Keeps what is logged."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


SECRETS = {
    "token": (Bearer("s3cret.token"), "Bearer s3cret.token"),
    "password": (Basic("jane", "s3cret"), "Basic amFuZTpzM2NyZXQ="),
    "password beyond ASCII": (Basic("jane", "s3crét"), "Basic amFuZTpzM2Nyw6l0"),
    "token of a command": (Bearer(lambda: "s3cret\n"), "Bearer s3cret"),
}


@grid("name", SECRETS)
def test_who_asks_is_said_and_shown_nowhere(name: str) -> None:
    credentials, header = SECRETS[name]
    records: list[logging.LogRecord] = []
    handler = Kept(records)
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        for call in FACES.values():
            with web(lambda asked: listed(studies(UIDS[:1]))) as server:
                assert call(
                    server.url, lambda peer: peer.find("study", PatientName="Doe"), credentials=credentials
                )
            assert server.asked[0].headers["Authorization"] == header
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    said = "\n".join(record.getMessage() for record in records) + repr(credentials)
    assert "s3cr" not in said
    assert header.partition(" ")[2] not in said
    assert "Doe" not in said


def test_a_token_that_has_expired_is_asked_for_once_more(call: Call) -> None:
    tokens = iter(["old", "new", "newest"])
    with web(
        lambda asked: listed([]) if asked.headers["Authorization"] == "Bearer new" else Says(401)
    ) as server:
        assert (
            call(server.url, lambda peer: peer.find("study"), credentials=Bearer(lambda: next(tokens))) == []
        )
    assert [each.headers["Authorization"] for each in server.asked] == ["Bearer old", "Bearer new"]


def test_a_wrong_password_is_not_tried_again(call: Call) -> None:
    with web(lambda asked: Says(401)) as server:
        (error,) = call(server.url, lambda peer: peer.find("study"), credentials=Basic("jane", "wrong"))
    assert "does not accept" in str(error)
    assert len(server.asked) == 1


@grid("token", ["", "a b", "a\r\nX-Evil: 1", "é"])
def test_what_is_no_token_is_never_sent(token: str) -> None:
    for call in FACES.values():
        with web(lambda asked: listed([])) as server:
            (error,) = call(server.url, lambda peer: peer.find("study"), credentials=Bearer(token))
        assert isinstance(error, ValueError)
        assert token.strip() not in str(error) or not token
        assert server.asked == []


def test_credentials_need_tls_or_this_machine() -> None:
    with pytest.raises(ValueError, match="without TLS"):
        Peer("http://pacs.example/dicom-web", credentials=Bearer("x"))
    Peer("http://pacs.example/dicom-web", credentials=Bearer("x"), may_be_read=True)
    Peer("https://pacs.example/dicom-web", credentials=Bearer("x"))
    with pytest.raises(ValueError, match="association"):
        Peer("PACS@pacs.example:104", credentials=Bearer("x"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_on_the_same_host_is_followed(call: Call, status: int) -> None:
    def answer(asked: Asked) -> Says:
        if asked.path.startswith("/dicom-web"):
            return Says(status, headers={"Location": f"/pacs{asked.target}"})
        return listed(studies(UIDS[:1]))

    with web(answer) as server:
        assert uids_of(call(server.url, lambda peer: peer.find("study"), credentials=Bearer("x"))) == UIDS[:1]


@pytest.mark.parametrize("status", [302, 307])
def test_nothing_goes_to_another_host(call: Call, status: int) -> None:
    """Neither a token nor the names in a query."""
    with web(lambda asked: listed([])) as other:
        target = other.url + "/studies?a=b"
        with web(lambda asked: Says(status, headers={"Location": target})) as server:
            (error,) = call(server.url, lambda peer: peer.find("study"), credentials=Bearer("x"))
    assert isinstance(error, HTTPRefusal)
    assert other.url.removesuffix("/dicom-web") in str(error)
    assert "a=b" not in str(error)
    assert other.asked == []


def test_a_circle_of_redirections_ends(call: Call) -> None:
    def answer(asked: Asked) -> Says:
        return Says(302, headers={"Location": f"/dicom-web/{len(server.asked)}"})

    with web(answer) as server:
        (error,) = call(server.url, lambda peer: peer.find("study"))
    assert isinstance(error, ProtocolError)
    assert len(server.asked) < 10


def test_a_peer_can_be_used_again_after_its_end() -> None:
    with web(lambda asked: listed(studies(UIDS[:1]))) as server:
        peer = Peer(server.url)
        for _ in range(2):
            assert uids_of(list(peer.find("study"))) == UIDS[:1]
            peer.close()


def test_a_query_that_is_left_asks_no_more(call: Call) -> None:
    def first(server: Web) -> Any:
        with Peer(server.url) as peer:
            return next(iter(peer.find("study")))

    with web(lambda asked: paging(asked, UIDS, 10)) as server:
        assert str(first(server).StudyInstanceUID) == UIDS[0]
    assert len(server.asked) == 1


ADDRESSES = {
    "https://pacs.example/dicom-web/": ("https://pacs.example/dicom-web", "pacs.example", 443),
    "http://127.0.0.1:8042/dicom-web": ("http://127.0.0.1:8042/dicom-web", "127.0.0.1", 8042),
    "https://pacs.example:443": ("https://pacs.example", "pacs.example", 443),
    "http://[::1]:8042/a/b": ("http://[::1]:8042/a/b", "::1", 8042),
}


@grid("text", ADDRESSES)
def test_addresses(text: str) -> None:
    url, host, port = ADDRESSES[text]
    address = Peer(text).address
    assert (str(address), address.address.host, address.address.port) == (url, host, port)


@grid(
    "text",
    [
        "ftp://pacs.example/x",
        "https://",
        "https://pacs.example/?a=b",
        "https://pacs.example/#a",
        "https://pacs.example:0/",
        "https://pacs.example:99999/",
        "https://pacs.example/a b",
        "https://pacs.example/\r\nX: 1",
        "https://jane:s3cret@pacs.example/",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="address") as raised:
        Peer(text)
    assert "s3cret" not in str(raised.value)

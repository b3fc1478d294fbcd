"""The page of the audit trail: what users did by HTTP is there, for administrators only, who are recorded, too."""

from __future__ import annotations

from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlencode

from pydicom.dataset import Dataset
from tests.archive.audited import entries
from tests.archive.web.page.visits import Visited, visited
from tests.support import wait_until

from dicomnet.archive.audit import AuditEntry, AuditPolicy, EventAction, EventKind, EventOutcome
from dicomnet.archive.services.retrieve import RetrievePolicy, destinations_of
from dicomnet.archive.terms import Terms
from dicomnet.archive.users import UsersFile, new_user
from dicomnet.archive.web.access.policy import WebPolicy

PASSWORD = "a long password"
ON = AuditPolicy(enabled=True)
_K, _A = EventKind, EventAction


def _users(folder: Path) -> UsersFile:
    users = UsersFile(folder / "users.toml")
    with users.changing() as (known, _):
        known.update({role: new_user(role, role, PASSWORD) for role in ("viewer", "admin")})
    return users


def _cookie(node: Visited, name: str) -> str:
    connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
    connection.request(
        "POST", "/login", urlencode({"name": name, "password": PASSWORD}), {"Origin": node.url}
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return str(answer.getheader("Set-Cookie")).partition(";")[0]


def _downloaded(node: Visited, path: str, cookie: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", node.port, timeout=30)
    connection.request("GET", path, headers={"Accept": "application/zip", "Cookie": cookie})
    content = connection.getresponse().read()
    connection.close()
    return content


def _one(found: list[AuditEntry], kind: EventKind, action: EventAction = EventAction.NONE) -> AuditEntry:
    (entry,) = [each for each in found if (each.event.kind, each.event.action) == (kind, action)]
    return entry


def test_what_users_do_by_http_is_recorded(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    with visited(tmp_path / "other", ae_title="OTHER") as other:
        place = f"OTHER@127.0.0.1:{other.node.address[1]}"
        terms = Terms(
            audit=ON,
            web=WebPolicy(users=_users(tmp_path), may_delete=True, keep=3600.0),
            retrieval=RetrievePolicy(destinations_of([place])),
        )
        with visited(tmp_path / "store", terms) as node:
            node.store([make(PatientID="P1")])
            viewer, admin = _cookie(node, "viewer"), _cookie(node, "admin")
            assert node.visit("/configuration", Cookie=viewer).status == 403
            assert _downloaded(node, "/dicom-web/studies/1.2.3", viewer).startswith(b"PK")
            study = "/studies/1.2.3"
            sent = node.send_form(study, f"{study}/send", {"destination": "OTHER"}, Cookie=admin)
            assert "1 of 1 sent" in sent.shown
            fields = {"reason": "by mistake", "objects": "1"}
            deleted = node.send_form(f"{study}/delete", f"{study}/delete", fields, Cookie=admin)
            assert deleted.status == 200
            assert node.visit("/logout", "POST", b"", Cookie=viewer, Origin=node.url).status == 303
    found = entries(tmp_path / "store")
    refused = _one(found, _K.SECURITY_ALERT, _A.NOT_ALLOWED).event
    assert (refused.user, refused.detail) == ("viewer", "GET /configuration")
    export = _one(found, _K.EXPORT).event
    assert (export.user, export.study, export.patient) == ("viewer", "1.2.3", "P1")
    sending = _one(found, _K.INSTANCES_TRANSFERRED, _A.OUT)
    assert (sending.event.user, sending.event.other, sending.event.study) == ("admin", place, "1.2.3")
    assert (sending.count, sending.event.address) == (1, "127.0.0.1")
    gone = _one(found, _K.STUDY_DELETED).event
    assert (gone.user, gone.address, gone.patient, gone.way) == ("admin", "127.0.0.1", "P1", "HTTP")
    assert gone.detail.endswith(", by mistake")
    logins = [each.event.user for each in found if each.event.action is _A.LOGIN]
    assert logins == ["viewer", "admin"]
    assert _one(found, _K.USER_AUTHENTICATION, _A.LOGOUT).event.user == "viewer"
    assert all(each.is_over for each in found)


def test_an_administrator_reads_it_and_that_is_recorded(tmp_path: Path, make: Callable[..., Dataset]) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    with visited(tmp_path / "store", Terms(audit=ON, web=WebPolicy(users=_users(tmp_path)))) as node:
        node.store([make(PatientID=nasty)])
        viewer, admin = _cookie(node, "viewer"), _cookie(node, "admin")
        assert node.visit("/audit", Cookie=viewer).status == 403
        assert "/audit" not in node.visit("/", Cookie=viewer).links(".*")
        assert "/audit" in node.visit("/", Cookie=admin).links(".*")

        def page(**wanted: str) -> str:
            answer = node.visit(f"/audit?{urlencode(wanted)}", Cookie=admin)
            assert answer.status == 200
            assert "img" not in {name for name, _ in answer.elements}
            return answer.shown

        wait_until(lambda: "instances transferred in" in page(), what="what was stored is shown")
        shown = page(patient=nasty)
        assert nasty in shown
        assert "user authentication login" not in shown
        assert "1.2.3" in page(kind="instances transferred")
        assert "No entry is like that." in page(who="nobody")
        assert "No entry is like that." in page(to="2001-01-01")
        since = {"from": "2001-01-01", "who": "admin"}
        wait_until(lambda: "user authentication login" in page(**since), what="a login is shown")
        for wrong in ("kind=nonsense", "from=yesterday", "before=x"):
            assert node.visit(f"/audit?{wrong}", Cookie=admin).status == 400
    read = [each.event for each in entries(tmp_path / "store") if each.event.kind is _K.AUDIT_LOG_USED]
    assert {each.user for each in read} == {"admin"}
    assert "/audit?who=nobody" in {each.detail for each in read}
    assert nasty in {each.patient for each in read}
    refused = _one(entries(tmp_path / "store"), _K.SECURITY_ALERT, _A.NOT_ALLOWED)
    assert (refused.event.user, refused.event.outcome) == ("viewer", EventOutcome.MINOR_FAILURE)


def test_older_entries_are_on_the_next_page(tmp_path: Path) -> None:
    with visited(tmp_path / "store", Terms(audit=ON)) as node:
        for number in range(450):
            node.visit(f"/?name=N{number}")

        wait_until(lambda: "N449" in node.visit("/audit?kind=query").shown, what="all are written")
        found, address = [], "/audit?kind=query"
        while address:
            page = node.visit(address)
            found.append(page.shown.count("?name=N"))
            address = next(iter(page.links(r".*before=.*")), "")
        assert found == [200, 200, 50]

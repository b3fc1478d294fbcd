"""The file of users: who is in it, who may read it, and what it says of passwords and tokens."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path
from unittest import mock

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from dicomnet.archive import users
from dicomnet.archive.users import ROLES, Right, User, Users, UsersFile, new_token, new_user
from dicomnet.errors import UsersUnusable

PASSWORD = "päss word-%$"
DAY = date(2026, 11, 29)


@pytest.fixture(scope="module")
def alice() -> User:
    """A hash takes its time."""
    return new_user("alice", "admin", PASSWORD)


@pytest.fixture
def file(tmp_path: Path, alice: User) -> UsersFile:
    made = UsersFile(tmp_path / "users.toml")
    with made.changing() as (users, _):
        users["alice"] = alice
        users["proxied"] = new_user("proxied", "viewer", None)
    return made


def test_what_is_written_is_read_by_another_one(file: UsersFile) -> None:
    token, text = new_token("export", frozenset({Right.READ, Right.DELETE}), DAY)
    with file.changing() as (_, tokens):
        tokens[token.number] = token
    known = UsersFile(file.path).read()
    assert known.users["alice"].role == "admin"
    assert known.tokens == {token.number: token}
    assert known.by_token(text, DAY) == token


def test_neither_password_nor_token_stands_in_the_file(file: UsersFile) -> None:
    token, text = new_token("export", frozenset({Right.READ}), DAY)
    with file.changing() as (_, tokens):
        tokens[token.number] = token
    content = file.path.read_text()
    assert PASSWORD not in content
    assert text.rpartition("_")[2] not in content
    assert "$argon2id$" in content
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert list(file.path.parent.iterdir()) == [file.path]
    assert "argon2" not in repr(file.read())


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong password"),
        ("alice", ""),
        ("nobody", PASSWORD),
        ("proxied", ""),
        ("proxied", PASSWORD),
    ],
)
def test_nobody_comes_in_by_another_password(file: UsersFile, name: str, password: str) -> None:
    assert file.read().by_password("alice", PASSWORD) == file.read().users["alice"]
    assert file.read().by_password(name, password) is None


def test_a_token_is_taken_until_its_last_day(file: UsersFile) -> None:
    token, text = new_token("export", frozenset({Right.READ}), DAY)
    users = Users({}, {token.number: token})
    assert users.by_token(text, DAY) == token
    assert users.by_token(text, DAY + timedelta(days=1)) is None
    for other in (text[:-1] + ("A" if text[-1] != "A" else "B"), text[:-1], "", "dicomnet_", text + "x"):
        assert users.by_token(other, DAY) is None


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "[group.x]\nrole = 'admin'\n",
        "[user.x]\nrole = 'root'\npassword = ''\n",
        "[user.x]\nrole = 'admin'\n",
        "user = 3\n",
        "[user]\nx = 3\n",
        "[token.x]\nname = 'x'\ndigest = ''\nrights = ['everything']\nexpires = 2026-11-29\n",
        "[token.x]\nname = 'x'\ndigest = ''\nrights = ['read']\nexpires = 'never'\n",
        "[token.x]\nname = 'x'\ndigest = ''\nrights = ['read']\nexpires = 2026-11-29T00:00:00Z\n",
        "\udcff",
        # What could be read, but not be written again as it was.
        "[user.'a\"b']\nrole = 'admin'\npassword = ''\n",
        '[user."a\\nb"]\nrole = "admin"\npassword = ""\n',
        "[user.x]\nrole = 'admin'\npassword = 'secret'\n",
        '[user.x]\nrole = "viewer"\npassword = "$argon2id$x\\"\\nrole = \\"admin"\n',
        f"[token.abcdefgh]\nname = 'x\"'\ndigest = '{'0' * 64}'\nrights = ['read']\nexpires = 2026-11-29\n",
        "[token.abcdefgh]\nname = 'x'\ndigest = 'x'\nrights = ['read']\nexpires = 2026-11-29\n",
        f"[token.'a.b']\nname = 'x'\ndigest = '{'0' * 64}'\nrights = ['read']\nexpires = 2026-11-29\n",
    ],
)
def test_a_file_that_makes_no_sense_lets_nobody_in(file: UsersFile, content: str) -> None:
    file.path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsersUnusable, match=r"users\.toml cannot be used: this is no file of users"):
        file.read()


def test_a_file_that_others_can_read_is_refused(tmp_path: Path, file: UsersFile) -> None:
    file.path.chmod(0o640)
    with pytest.raises(UsersUnusable, match="chmod 600"):
        UsersFile(file.path).read()


def test_a_file_that_others_may_read_from_now_on_is_refused_at_once(file: UsersFile) -> None:
    assert file.read().users
    file.path.chmod(0o644)
    with pytest.raises(UsersUnusable, match="chmod 600"):
        file.read()


def test_a_link_to_the_file_stays_one(tmp_path: Path, file: UsersFile) -> None:
    """A change wrote a file in the place of the link, and what it led to stayed as it was."""
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "users.toml"
    link.symlink_to(file.path)
    with UsersFile(link).changing() as (known, _):
        del known["alice"]
    assert link.is_symlink()
    assert "alice" not in file.read().users
    assert [each.name for each in link.parent.iterdir()] == ["users.toml"]


def test_a_reader_that_was_late_does_not_bring_back_who_was_removed(file: UsersFile) -> None:
    """Threads read the file at once, and what it said and when were noted one after the other."""
    slow = _Slow(file.path)
    late = UsersFile(slow)
    thread = threading.Thread(target=late.read)
    thread.start()
    assert slow.is_read.wait(20)
    slow.is_slow = False
    with file.changing() as (known, _):
        del known["alice"]
    assert "alice" not in late.read().users
    slow.may_go.set()
    thread.join()
    assert "alice" not in late.read().users


class _Slow(type(Path())):  # type: ignore[misc]
    """A path whose file takes its time between what it says and that it is known."""

    def __init__(self, *segments: object) -> None:
        if sys.version_info >= (3, 12):
            super().__init__(*segments)
        self.is_slow, self.is_read, self.may_go = True, threading.Event(), threading.Event()

    def read_bytes(self) -> bytes:
        content = bytes(super().read_bytes())
        if self.is_slow:
            self.is_read.set()
            self.may_go.wait(20)
        return content


def test_who_ends_it_in_the_middle_leaves_the_file_as_it_was(file: UsersFile) -> None:
    before = file.path.read_bytes()
    code = (
        "import os, signal, sys; from pathlib import Path; from dicomnet.archive import users\n"
        "users.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with users.UsersFile(Path(sys.argv[1])).changing() as (known, _): known.clear()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(file.path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert file.path.read_bytes() == before
    # What it left has hashes, and is nobody's to read either; the next change is not held up.
    assert all(each.stat().st_mode & 0o077 == 0 for each in file.path.parent.iterdir())
    with file.changing() as (known, _):
        del known["alice"]
    assert "alice" not in file.read().users


def test_it_takes_as_long_to_find_no_user_as_a_wrong_password(file: UsersFile) -> None:
    """By the number of hashes that are compared, which is all that takes long."""
    known, counts = file.read(), []
    users._nobodys()
    for name in ("alice", "nobody", "proxied", ""):
        with mock.patch.object(PasswordHasher, "verify", side_effect=VerifyMismatchError) as verify:
            assert known.by_password(name, "wrong password") is None
        counts.append(verify.call_count)
    assert counts == [1, 1, 1, 1]


def test_a_change_is_all_or_nothing(file: UsersFile) -> None:
    before = file.path.read_bytes()

    def change() -> None:
        with file.changing() as (users, _):
            users.clear()
            raise KeyError

    with pytest.raises(KeyError):
        change()
    assert file.path.read_bytes() == before
    assert list(file.path.parent.iterdir()) == [file.path]


def test_of_two_who_change_it_at_once_none_is_lost(file: UsersFile) -> None:
    def add(number: int) -> None:
        with UsersFile(file.path).changing() as (users, _):
            users[f"u{number}"] = new_user(f"u{number}", "viewer", None)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {f"u{number}" for number in range(20)} <= file.read().users.keys()


def test_what_was_agreed_with_another_password_or_role_holds_no_longer(file: UsersFile) -> None:
    alice = file.read().users["alice"]
    assert new_user("alice", "admin", PASSWORD).stamp != alice.stamp
    assert User("alice", "viewer", alice.password).stamp != alice.stamp


@pytest.mark.parametrize("name", ["", "a b", "../x", 'x"', "x\n", "é", "x" * 65, "-x"])
def test_a_name_is_of_characters_that_can_be_mistaken_for_nothing(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"):
        new_user(name, "viewer", PASSWORD)
    with pytest.raises(ValueError, match="cannot be a name"):
        new_token(name, frozenset({Right.READ}), DAY)


def test_a_short_password_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 8"):
        new_user("alice", "viewer", "1234567")


def test_each_role_may_what_its_name_says() -> None:
    assert ROLES["viewer"] == {Right.READ}
    assert ROLES["sender"] == {Right.WRITE}
    assert ROLES["admin"] == set(Right)
    assert Right.ADMIN not in ROLES["manager"] | ROLES["editor"]
    assert Right.DELETE not in ROLES["editor"]

"""`dicomnet users`: who may use an archive by HTTP, and the tokens of scripts."""

from __future__ import annotations

import getpass
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from .arguments import FAILED, OK, Parser, UsageError
from .configuration import config_file
from .settings import add_config_options
from .terminal import write_table
from .words import complain, complain_of_missing, current_user, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..archive.users import Right, Users, UsersFile

ACTIONS = ("list", "add", "remove", "token", "revoke")
_FEWEST_DAYS, _MOST_DAYS = 1, 3660


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "The file of those who may use an archive by HTTP (web.users of its configuration), and of tokens for\n"
        "scripts. add asks for a password, and changes the one of a user who is there; token prints a token, which is\n"
        "shown once. A running node takes notice at once.",
        "dicomnet users add alice --role admin --file /etc/dicomnet/users.toml\n"
        "dicomnet users token nightly-export --right read --days 90 --config /etc/dicomnet.toml\n"
        "dicomnet users list --config /etc/dicomnet.toml\n"
        "dicomnet users remove alice --config /etc/dicomnet.toml",
    )
    parser.add_argument(
        "action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS[:-1]) + " or revoke"
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="the user, what a token is for, or its number"
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="the file (web.users)")
    parser.add_argument(
        "--role",
        metavar="ROLE",
        help="what a user may do: viewer (read), sender (write), editor (read, write), manager (and delete) or admin"
        " (viewer, or as before)",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="a file whose first line is the password; - is standard input",
    )
    parser.add_argument(
        "--no-password",
        action="store_true",
        help="a user whom only a reverse proxy vouches for (web.user_header)",
    )
    parser.add_argument(
        "--right",
        action="append",
        metavar="RIGHT",
        help="what a token is for: read, write, delete or admin; may be given again (read)",
    )
    parser.add_argument(
        "--days", type=int, default=90, metavar="DAYS", help="how long a token is taken (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")
    add_config_options(parser)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    try:
        file = _file(options)
        if options.action == "list":
            return _list(options, file)
        if options.name is None:
            raise UsageError(f"users {options.action} needs NAME")
        try:
            done = {"add": _add, "remove": _remove, "token": _token, "revoke": _revoke}[options.action](
                options, file
            )
            if done == OK:
                _record(options)
            return done
        except ValueError as error:
            raise UsageError(str(error)) from None
    except ModuleNotFoundError as error:
        complain_of_missing("users", error)
        return FAILED


def _file(options: Namespace) -> UsersFile:
    from ..archive.users import UsersFile

    if options.file is not None:
        return UsersFile(options.file)
    path = None
    if config_file(options) is not None:
        from ..settings.reading import read

        path = read(config_file(options), {})["web.users"]
    if path is None:
        raise UsageError("which file? --file names it, or --config a configuration that has web.users")
    return UsersFile(path)


def _record(options: Namespace) -> None:
    """The audit trail of the archive of the configuration, if there is one, says what was changed."""
    if config_file(options) is None:
        return
    from ..archive.audit import COMMAND, AuditEvent, EventAction, EventKind
    from ..archive.auditing import record_beside
    from ..errors import DicomnetError
    from ..settings.reading import read

    settings = read(config_file(options), {})
    words = [f"users {options.action} {options.name}"]
    if options.action == "add":
        words.append(f"role {options.role or 'as before, or viewer'}")
    if options.action == "token":
        words.append(f"rights {', '.join(options.right or ['read'])}, for {options.days} days")
    event = AuditEvent(
        EventKind.SECURITY_ALERT,
        EventAction.USERS,
        user=current_user(),
        way=COMMAND,
        detail=", ".join(words),
    )
    try:
        record_beside(settings["storage.folder"], settings["storage.database"], [(event, 1)])
    except DicomnetError as error:
        complain(f"dicomnet users: that is done, but the audit trail does not say so: {error}")


def _list(options: Namespace, file: UsersFile) -> int:
    known = file.read()
    as_json = options.json or not is_terminal(sys.stdout)
    users, tokens = _rows(known)
    if as_json:
        for row in (*users, *tokens):
            print(json.dumps(row))
        return OK
    write_table(["User", "Role", "Password"], [[row["user"], row["role"], row["password"]] for row in users])
    if tokens:
        names = ("token", "name", "rights", "expires")
        write_table(["Token", "For", "Rights", "Expires"], [[row[each] for each in names] for row in tokens])
    return OK


def _rows(known: Users) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    from ..archive.users import Right

    users = [
        {"user": each.name, "role": each.role, "password": "yes" if each.password else "no"}
        for each in known.users.values()
    ]
    tokens = [
        {
            "token": each.number,
            "name": each.name,
            "rights": ", ".join(right for right in Right if right in each.rights),
            "expires": each.expires.isoformat(),
        }
        for each in known.tokens.values()
    ]
    return users, tokens


def _add(options: Namespace, file: UsersFile) -> int:
    from ..archive.users import ROLES, check_name, new_user

    name = options.name
    check_name(name)
    if options.role is not None and options.role not in ROLES:
        raise ValueError(f"there is no role {options.role!r}; there are {', '.join(ROLES)}")
    password = None if options.no_password else _password(options)
    with file.changing() as (users, _):
        before = users.get(name)
        role = options.role or ("viewer" if before is None else before.role)
        users[name] = new_user(name, role, password)
    if not options.quiet:
        print(f"{name} is {'added' if before is None else 'changed'}, with the role {role}")
    return OK


def _password(options: Namespace) -> str:
    if options.password_file is not None:
        if str(options.password_file) == "-":
            return sys.stdin.readline().rstrip("\r\n")
        return str(options.password_file.read_text().partition("\n")[0].rstrip("\r"))
    if not is_terminal(sys.stdin):
        raise ValueError(
            "--password-file says where the password is: it is never an argument, which others can see"
        )
    password = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != password:
        raise ValueError("the two passwords differ; nothing is changed")
    return password


def _remove(options: Namespace, file: UsersFile) -> int:
    with file.changing() as (users, _):
        if options.name not in users:
            complain(f"dicomnet users: there is no user {printable(options.name)}")
            return FAILED
        del users[options.name]
    if not options.quiet:
        print(f"{options.name} is removed, and so are his sessions")
    return OK


def _token(options: Namespace, file: UsersFile) -> int:
    from ..archive.users import new_token, today

    if not _FEWEST_DAYS <= options.days <= _MOST_DAYS:
        raise ValueError(f"--days is from {_FEWEST_DAYS} to {_MOST_DAYS}")
    token, text = new_token(options.name, _rights(options), today() + timedelta(days=options.days))
    with file.changing() as (_, tokens):
        tokens[token.number] = token
    # Standard output has nothing else, so that it can go into a file.
    print(text)
    if not options.quiet:
        complain(f"token {token.number} is taken until {token.expires}; it is not shown again")
    return OK


def _rights(options: Namespace) -> frozenset[Right]:
    from ..archive.users import Right

    words = options.right or ["read"]
    if unknown := [each for each in words if each not in list(Right)]:
        raise ValueError(f"there is no right {unknown[0]!r}; there are {', '.join(Right)}")
    return frozenset(map(Right, words))


def _revoke(options: Namespace, file: UsersFile) -> int:
    with file.changing() as (_, tokens):
        if options.name not in tokens:
            complain(f"dicomnet users: there is no token {printable(options.name)}")
            return FAILED
        del tokens[options.name]
    if not options.quiet:
        print(f"token {options.name} is not taken any more")
    return OK

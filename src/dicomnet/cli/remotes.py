"""`dicomnet remotes`: the peers that have a name in the configuration: list, show, add, remove and test them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..settings.users import Configuration
from .arguments import FAILED, OK, Parser, UsageError
from .configuration import add_config_option, remote_of
from .terminal import write_table
from .words import complain, complain_of_missing, is_terminal, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..peers.target import Target
    from ..settings.values import Remote

ACTIONS = ("list", "add", "show", "remove", "test")
# The key whose value is not to be seen in the list of processes.
_SECRET = "passcode"


def configure(parser: Parser) -> None:
    """Add the options of this command to the parser."""
    parser.explain(
        "The remotes: the peers that the other commands know by a name, from a file or the environment. Without an\n"
        "action they are listed: a table on a terminal, and otherwise a line of JSON each. add and remove change the\n"
        "file and leave all else in it as it is; show tells all that is known of one; test calls it and says what\n"
        "works. The keys of KEY=VALUE are those of [remotes.NAME] in the configuration; passcode=- asks for it.",
        "dicomnet remotes add pacs ARCHIVE@10.0.0.5:104 calling=WORKSTATION jobs=2\n"
        "dicomnet remotes add vendor PACS@pacs.example:2762 tls=true ca=hospital.pem user=me passcode_file=secret\n"
        "dicomnet remotes test pacs\n"
        "dicomnet remotes --json | jq -r 'select(.tls) | .name'",
    )
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=ACTIONS,
        metavar="ACTION",
        help="list, add, show, remove or test",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="the name of a remote")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="with add: [AET@]host:port or https://host/path, and KEY=VALUE",
    )
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="lines of JSON on a terminal, too")


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    if options.action != "list" and not options.name:
        raise UsageError(f"remotes {options.action} needs NAME")
    if options.words and options.action != "add":
        raise UsageError(f"{options.words[0]!r}: only remotes add takes more than a name")
    configuration = Configuration(options.config)
    try:
        return _ACTIONS[options.action](configuration, options)
    except ModuleNotFoundError as error:
        complain_of_missing("remotes", error, "cli")
        return FAILED


def _list(configuration: Configuration, options: Namespace) -> int:
    if options.name:
        raise UsageError(f"remotes list takes no name; see remotes show {options.name}")
    settings = configuration.settings
    if settings is None or not settings.remotes:
        if not options.quiet:
            complain(f"dicomnet remotes: there are none; they are read from {configuration.place}")
        return OK
    remotes = [(settings.remote(name), settings.origin(f"remotes.{name}")) for name in settings.remotes]
    if options.json or not is_terminal(sys.stdout):
        import json

        for each, origin in remotes:
            place = each.peer.address
            line = {
                "name": each.name,
                "ae_title": each.title,
                "host": place.host,
                "port": place.port,
                "tls": each.tls,
                "ca": each.ca,
                **({"url": each["url"]} if each["url"] is not None else {}),
                "from": origin,
            }
            print(json.dumps(line))
        return OK
    rows = [[each.name, str(each.peer), "yes" if each.tls else "no", origin] for each, origin in remotes]
    write_table(["Name", "Peer", "TLS", "From"], [list(map(printable, row)) for row in rows])
    return OK


def _show(configuration: Configuration, options: Namespace) -> int:
    from ..settings.example import shown

    remote_of(configuration, options.name)
    assert configuration.settings is not None
    start = f"remotes.{options.name}."
    rows = [each for each in shown(configuration.settings) if each.name.startswith(start)]
    if options.json or not is_terminal(sys.stdout):
        import json

        for row in rows:
            print(json.dumps({"key": row.name.removeprefix(start), "value": row.value, "from": row.origin}))
        return OK
    cells = [
        [printable(each) for each in (row.name.removeprefix(start), row.value, row.origin)] for row in rows
    ]
    write_table(["Key", "Value", "From"], cells)
    return OK


def _add(configuration: Configuration, options: Namespace) -> int:
    from ..settings.writing import add_remote

    _check_file(configuration)
    entry = _entry(options.words)
    if configuration.settings is not None and options.name in configuration.settings.remotes:
        place = configuration.settings.origin(f"remotes.{options.name}")
        raise UsageError(f"there is a remote {options.name!r} already ({place}); remove it first")
    add_remote(configuration.file, options.name, entry)
    if not options.quiet:
        print(f"added {printable(options.name)} to {printable(configuration.file)}")
    return OK


def _remove(configuration: Configuration, options: Namespace) -> int:
    from ..settings.writing import remove_remote

    _check_file(configuration)
    remote_of(configuration, options.name)
    remove_remote(configuration.file, options.name)
    if not options.quiet:
        print(f"removed {printable(options.name)} from {printable(configuration.file)}")
    return OK


def _check_file(configuration: Configuration) -> None:
    if configuration.has_variable:
        raise UsageError(
            f"the remotes come from the variable {configuration.place}, which is not changed here"
        )


def _entry(words: list[str]) -> dict[str, Any]:
    """A remote as words say it: its address, and values of keys."""
    from ..exchange.addresses import PeerAddress
    from ..exchange.web_addresses import WebAddress, is_url
    from ..settings.entries import REMOTE_SETTINGS
    from ..settings.kinds import Text, Unfit, nearest

    if not words:
        raise UsageError("remotes add needs [AET@]host:port or https://host/path behind the name")
    entry: dict[str, Any]
    try:
        if is_url(words[0]):
            entry = {"url": WebAddress.parse(words[0]).url}
        else:
            peer = PeerAddress.parse(words[0])
            entry = {"host": peer.address.host, "port": peer.address.port}
            if "@" in words[0]:
                entry["ae_title"] = peer.ae_title
    except ValueError as error:
        raise UsageError(str(error)) from None
    rows = {each.key: each for each in REMOTE_SETTINGS}
    for word in words[1:]:
        key, equals, text = word.partition("=")
        if not equals or key not in rows:
            near = nearest(key, rows)
            known = f"did you mean {near}?" if near else f"known are {', '.join(rows)}"
            raise UsageError(f"{word!r} is not KEY=VALUE with a key of a remote; {known}")
        if key in entry:
            raise UsageError(f"{key} is given twice")
        if key == _SECRET:
            text = _asked(text)
        try:
            entry[key] = _of_toml(rows[key].kind.check(Text(text)))
        except Unfit as failure:
            raise UsageError(f"{key}: found {failure.found}, expected {failure.expected}") from None
    return entry


def _asked(text: str) -> str:
    """The passcode, which stands in no command line."""
    if text != "-":
        raise UsageError(
            "a passcode on the command line can be seen by others; passcode=- asks for it, and passcode_file,"
            " passcode_variable and passcode_command say where it is"
        )
    if not is_terminal(sys.stdin):
        return sys.stdin.readline().rstrip("\r\n")
    from getpass import getpass

    return getpass("passcode: ")


def _of_toml(value: Any) -> Any:
    """A value as a file has it. A path there is relative to the file's folder, and here to the current one."""
    import os

    return os.path.abspath(value) if isinstance(value, os.PathLike) else value


def _test(configuration: Configuration, options: Namespace) -> int:
    from ..peers.target import Target, with_remote, with_settings
    from .diagnose import check_layers

    remote = remote_of(configuration, options.name)
    settings = configuration.settings
    assert settings is not None
    target = with_remote(with_settings(Target(remote.peer), settings), settings, remote)
    if check_layers(target, options) != OK:
        return FAILED
    if not target.is_web:
        _test_services(target, remote, options)
    return OK


def _test_services(target: Target, remote: Remote, options: Namespace) -> None:
    """Say which services are accepted, by the information model where there are several."""
    from ..diagnosing.associations import open_association, release
    from ..exchange.contexts import (
        FIND_MODELS,
        GET_MODELS,
        MODALITY_PERFORMED_STEP,
        MODALITY_WORKLIST,
        MOVE_MODELS,
        NATIVE,
        STORAGE_COMMITMENT,
    )

    services: Mapping[str, Mapping[str, str]] = {
        "find": FIND_MODELS,
        "get": GET_MODELS,
        "move": MOVE_MODELS,
        "worklist": {"yes": MODALITY_WORKLIST},
        "commit": {"yes": STORAGE_COMMITMENT},
        "mpps": {"yes": MODALITY_PERFORMED_STEP},
    }
    uids = [uid for models in services.values() for uid in models.values()]
    link = open_association(target, [(uid, NATIVE) for uid in uids])
    accepted = {each.abstract_syntax for each in link.agreement.accepted}
    release(link)
    for service, models in services.items():
        found = [word for word, uid in models.items() if uid in accepted]
        if options.json:
            import json

            print(json.dumps({"service": service, "accepted": bool(found), "models": found}))
        elif not options.quiet:
            print(f"{service:9}  {', '.join(found) or 'no'}")


_ACTIONS: Mapping[str, Callable[[Configuration, Namespace], int]] = {
    "list": _list,
    "add": _add,
    "show": _show,
    "remove": _remove,
    "test": _test,
}

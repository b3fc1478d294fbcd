"""Settings by options, environment and file, which of them counts, and what is said of each kind of wrong file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.settings.others import OTHERS
from tests.sockets import make_certificates

from dicomnet.archive import retention
from dicomnet.archive.access import EVERYTHING
from dicomnet.archive.access import OPERATIONS as operations_of_rules  # noqa: N811
from dicomnet.archive.applied import is_guarded, kept_for_the_next_start, node_options, terms_of
from dicomnet.archive.catalogue.options import QueryOptions
from dicomnet.archive.conflicts import OtherContent
from dicomnet.archive.terms import Terms
from dicomnet.drivers.deadline import Timeouts
from dicomnet.settings.entries import REMOTE_SETTINGS, RETENTION_SETTINGS, RULE_SETTINGS
from dicomnet.settings.example import HIDDEN, example, manual, shown
from dicomnet.settings.kinds import Text, as_toml
from dicomnet.settings.mistakes import Mistakes
from dicomnet.settings.reading import read
from dicomnet.settings.table import (
    BY_NAME,
    CONFLICTS,
    FACTS,
    OPERATIONS,
    PREFIX,
    SECTIONS,
    SETTINGS,
    SINCE,
    WAYS,
)
from dicomnet.settings.values import DEFAULT, TOKENS, Settings


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node.toml"


def mistakes(file: Path, content: str | bytes, **options: Text) -> list[str]:
    """What is said of a file, without its folder."""
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Mistakes) as caught:
        terms_of(read(file, {name.replace("__", "."): value for name, value in options.items()}))
    return [each.replace(f"{file.parent}/", "") for each in caught.value.lines]


# -- what counts


def test_without_anything_there_are_the_defaults() -> None:
    settings = read(None)
    assert {settings.origin(each.name) for each in SETTINGS} == {DEFAULT}
    terms = terms_of(settings)
    assert terms == Terms(log=terms.log, shown=terms.shown)
    assert pickle.loads(pickle.dumps(terms)) == terms


def test_options_over_environment_over_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        "[limits]\nwindow = 1\nassociations = 1\nidle_timeout = 1\n[server]\nae_titles = ['A', 'B']\n"
    )
    monkeypatch.setenv("DICOMNET_LIMITS_ASSOCIATIONS", "2")
    monkeypatch.setenv("dicomnet_limits_idle_timeout", "2.5")
    settings = read(file, {"limits.idle_timeout": Text("3"), "queries.always": Text("fuzzy, empty")})
    assert [settings[f"limits.{each}"] for each in ("window", "associations", "idle_timeout")] == [1, 2, 3.0]
    assert settings["server.ae_titles"] == ("A", "B")
    assert settings["queries.always"] == ("fuzzy", "empty")
    assert dict(settings.origins) == {
        "limits.window": f"{file}:2",
        "limits.associations": "DICOMNET_LIMITS_ASSOCIATIONS",
        "limits.idle_timeout": "--set limits.idle_timeout",
        "server.ae_titles": f"{file}:6",
        "queries.always": "--query-always",
    }


@pytest.mark.parametrize("name", BY_NAME)
def test_a_setting_is_the_same_wherever_it_comes_from(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting, value = BY_NAME[name], OTHERS[name]
    nothing = read(None)
    separator = " " if name == "queries.keep_keys" else ","
    words = separator.join(value) if isinstance(value, list) else as_toml(value).strip('"')
    file.write_text(f"{name} = {as_toml(value)}")
    by_file = read(file)
    by_option = read(None, {name: Text(words)})
    monkeypatch.setenv(setting.variable, words)
    by_variable = read(None)
    assert by_file[name] != nothing[name]
    assert by_file.values == by_option.values == by_variable.values
    assert by_variable.origin(name) == setting.variable


@pytest.mark.parametrize(
    ("said", "seconds", "shown"),
    [
        ("7 days", 604_800, '"7 days"'),
        ("2 weeks", 1_209_600, '"14 days"'),
        ("36h", 129_600, '"36 h"'),
        ("1.5 min", 90, '"90 s"'),
        ("0", 0, '"0 s"'),
        ("1 year", 31_557_600, '"8766 h"'),
    ],
)
def test_a_time_is_shown_as_it_may_be_written(file: Path, said: str, seconds: float, shown: str) -> None:
    file.write_text(f'deletion.keep = "{said}"')
    found = read(file)["deletion.keep"]
    assert (found, as_toml(found)) == (seconds, shown)
    file.write_text(f"deletion.keep = {shown}")
    assert read(file)["deletion.keep"] == seconds


def test_tables_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMNET_REMOTES", '{"PACS": {"host": "pacs", "port": 104}}')
    monkeypatch.setenv("DICOMNET_ACCESS", '[{"title": "A", "allow": ["echo"]}]')
    # As a service of Kubernetes is announced.
    monkeypatch.setenv("DICOMNET_SERVICE_HOST", "10.0.0.1")
    settings = read(None)
    assert str(settings.remote("PACS").peer) == "PACS@pacs:104"
    assert settings.access == ({"title": "A", "allow": ("echo",)},)
    assert settings.origin("access.0.title") == "DICOMNET_ACCESS"


def test_paths_of_a_file_are_beside_it(file: Path) -> None:
    file.write_text(
        'storage.folder = "data"\nremotes.A = {host = "a", port = 1, ca = "ca.pem"}\ntls.key = "/k"'
    )
    settings = read(file, {"tls.certificate": Text("c.pem")})
    assert settings["storage.folder"] == file.parent / "data"
    assert settings["tls.key"] == Path("/k")
    assert settings["tls.certificate"] == Path("c.pem")
    assert settings.remote("A").ca == str(file.parent / "ca.pem")


def test_a_table_without_rules_lets_nobody_in(file: Path) -> None:
    """It was as if there was no table, and everybody may do everything."""
    file.write_text("access = []\nremotes = {}")
    settings = read(file)
    assert settings.access == ()
    assert terms_of(settings).access.allowed("A", "127.0.0.1") == frozenset()
    assert is_guarded(settings)
    file.write_text("remotes = {}")
    assert terms_of(read(file)).access.allowed("A", "127.0.0.1") == EVERYTHING


def test_what_a_node_is_made_of(file: Path) -> None:
    file.write_text("limits = {idle_timeout = 0, message_timeout = 7}\nserver.ae_titles = ['A', 'B']")
    settings = read(file)
    options = node_options(settings, terms_of(settings))
    assert options["terms"].timeouts == Timeouts(message=7.0, idle=None)
    assert (options["ae_title"], options["terms"].called_titles) == ("A", ())


# -- what is wrong

# A file, and what is said of it.
WRONG: dict[str, tuple[str | bytes, list[str]]] = {
    "not TOML": (
        "[server]\nport = 1\nport 2\n",
        ["node.toml:3: this is not TOML, column 6: expected '=' after a key in a key/value pair"],
    ),
    "a text that does not end": (
        '[server]\naddress = "x\n',
        ["node.toml:2: this is not TOML, column 13: illegal character '\\n'"],
    ),
    "an array that does not end": (
        "[server]\nae_titles = [\n\n",
        ["node.toml:2: this is not TOML: invalid value"],
    ),
    "twice": (
        "[server]\nport = 1\nport = 2\n",
        ["node.toml:3: this is not TOML, column 9: this key is there already"],
    ),
    "a key that is there by two ways": (
        "server.port = 1\n[server]\nport = 2\n",
        ["node.toml:2: this is not TOML, column 8: cannot declare server twice"],
    ),
    "two remotes of one name": (
        "[remotes.A]\nhost = 'a'\nport = 1\n[remotes.A]\nhost = 'b'\nport = 2\n",
        ["node.toml:4: this is not TOML, column 11: cannot declare remotes.A twice"],
    ),
    "a remote that is there in another way, too": (
        "remotes.A = {host = 'a', port = 1}\nremotes.A.ca = 'x'\n",
        ["node.toml:2: this is not TOML, column 19: cannot mutate immutable namespace remotes.A"],
    ),
    "a byte order mark": (
        b"\xef\xbb\xbf[server]\nprot = 1",
        ["node.toml:2: server.prot is not known; did you mean port?"],
    ),
    "UTF-16": (
        "[server]\nport = 1".encode("utf-16"),
        ["node.toml:1: a byte is not UTF-8, which TOML is written in"],
    ),
    "a number of thousands of digits": (
        f"# x\n[server]\nport = {'9' * 5000}\n[limits]\n",
        ["node.toml:3: a number has too many digits"],
    ),
    "lists without end": (
        f"# x\n[server]\nae_titles = {'[' * 9000}{']' * 9000}\n\n",
        ["node.toml:3: lists and tables are nested too deeply"],
    ),
    "tables without end": (
        f"# x\na = {'{a = ' * 9000}1{'}' * 9000}",
        ["node.toml:2: lists and tables are nested too deeply"],
    ),
    "a line break in a host name": (
        '[server]\naddress = "a\\nb"',
        ["node.toml:2: server.address: found 'a\\nb', expected an address or a host name"],
    ),
    "no character of a host name": (
        '[remotes.A]\nhost = "a\\u0000"\nport = 1',
        ["node.toml:2: remotes.A.host: found 'a\\x00', expected a host name or an address"],
    ),
    "certificates for a remote that is called without TLS": (
        "[remotes.A]\nhost = 'a'\nport = 1\nca = 'ca.pem'",
        ["node.toml:4: remotes.A.ca: it needs tls = true"],
    ),
    "not UTF-8": (b"a = 1\n# \xe4\n", ["node.toml:2: a byte is not UTF-8, which TOML is written in"]),
    "a table that is unknown": ("[sever]\nx = 1", ["node.toml:1: sever is not known; did you mean server?"]),
    "a key that is unknown": (
        "\n[server]\nprot = 1",
        ["node.toml:3: server.prot is not known; did you mean port?"],
    ),
    "a key of another table": (
        "[limits]\nmax_matches = 1",
        ["node.toml:2: limits.max_matches is not known; did you mean queries.max_matches?"],
    ),
    "a key without its table": ("port = 1", ["node.toml:1: port is not known; did you mean server.port?"]),
    "a key that is like none": (
        "logging.x = 1",
        ["node.toml:1: logging.x is not known; known here are level, format, identifiers"],
    ),
    "a hyphen for an underline": (
        "[storage]\non-conflict = 'refuse'",
        ["node.toml:2: storage.on-conflict is not known; did you mean on_conflict?"],
    ),
    "a number that is too large": (
        "[server]\nport = 65536",
        ["node.toml:2: server.port: found 65536, expected a number from 0 to 65535"],
    ),
    "a text for a number": (
        "server.port = '104'",
        ["node.toml:1: server.port: found '104', expected a number from 0 to 65535"],
    ),
    "a number for a text": (
        "server.address = 10",
        ["node.toml:1: server.address: found 10, expected an address or a host name"],
    ),
    "a flag for a number": (
        "limits.window = true",
        ["node.toml:1: limits.window: found true, expected a number from 1 to 65535"],
    ),
    "a number for a flag": (
        "storage.strict = 1",
        ["node.toml:1: storage.strict: found 1, expected true or false"],
    ),
    "a negative time": (
        "limits.idle_timeout = -1",
        ["node.toml:1: limits.idle_timeout: found -1, expected a time in seconds"],
    ),
    "no number": (
        "limits.idle_timeout = nan",
        ["node.toml:1: limits.idle_timeout: found nan, expected a time in seconds"],
    ),
    "a word that is unknown": (
        "[storage]\n\non_conflict = 'keep'",
        ["node.toml:3: storage.on_conflict: found 'keep', expected one of keep-first, replace, refuse"],
    ),
    "a text for a list": (
        "server.ae_titles = 'A'",
        [
            (
                "node.toml:1: server.ae_titles: found 'A', expected a list, each item an AE title of up to 16 ASCII"
                " characters, without a backslash and without blanks around it"
            )
        ],
    ),
    "an item that is wrong": (
        "queries.always = ['empty',\n 'all']",
        [
            (
                "node.toml:2: queries.always: found 'all', expected one of relational, combined, fuzzy, timezone,"
                " empty, multiple"
            )
        ],
    ),
    "a value for a table": ("server = 1", ["node.toml:1: server: found 1, expected a table"]),
    "tables for a table": (
        "[[server]]\nport = 1",
        ["node.toml:1: server: found a list, expected a table"],
    ),
    "a table for rules": (
        "[access]\ntitle = 'A'",
        ["node.toml:1: access: found a table, expected rules, each under [[access]]"],
    ),
    "a rule of retention that would remove everything": (
        "[[retention]]\nname = 'all'",
        ["node.toml:1: retention.0: it needs after or free, or it would remove everything"],
    ),
    "rules of retention of one name": (
        "[[retention]]\nname = 'a'\nafter = 1\n[[retention]]\nname = 'a'\nafter = 1",
        ["node.toml:5: retention.1.name: there are two with the name a"],
    ),
    "a rule of retention that makes no room": (
        "[[retention]]\nname = 'a'\nfree = '10 %'\nkeep = '1 day'",
        ["node.toml:4: retention.0.keep: the trash is on the same volume; take away keep or free"],
    ),
    "a time that is none": (
        "[deletion]\nkeep = '1 fortnight'",
        [
            "node.toml:2: deletion.keep: found '1 fortnight', expected a time, such as 90 s, 12 h, 7 days or 10 years"
        ],
    ),
    "a space that is none": (
        "[[retention]]\nname = 'a'\nfree = '110 %'",
        [
            "node.toml:3: retention.0.free: found '110 %', expected an amount of space, such as 50 GB, 2 TB or 10 %"
        ],
    ),
    "a rule that is none": ("access = [1]", ["node.toml:1: access.0: found 1, expected a table"]),
    "a remote that is none": ("remotes.A = 1", ["node.toml:1: remotes.A: found 1, expected a table"]),
    "remotes that are none": (
        "remotes = []",
        ["node.toml:1: remotes: found [], expected remotes, each under [remotes.NAME]"],
    ),
    "a remote that lacks something": (
        "[remotes.A]\nhost = 'a'",
        ["node.toml:1: remotes.A.port is missing; expected a number from 1 to 65535"],
    ),
    "a rule that lacks something": (
        "[[access]]\nallow = []\n[[access]]\ntitle = 'A'",
        [
            "node.toml:3: access.1.allow is missing; expected a list, each item one of echo, store, find, get, move"
        ],
    ),
    "an operation that is unknown": (
        "[[access]]\nallow = ['find', 'delete']",
        ["node.toml:2: access.0.allow: found 'delete', expected one of echo, store, find, get, move"],
    ),
    "a network with bits behind its prefix": (
        "[[access]]\naddress = '10.0.0.1/8'\nallow = []",
        [
            (
                "node.toml:2: access.0.address: found '10.0.0.1/8', expected an address, a network such as 10.0.0.0/8"
                " (without bits behind the prefix) or a host name"
            )
        ],
    ),
    "a title that is too long": (
        "[[access]]\ntitle = 'A2345678901234567'\nallow = []",
        [
            (
                "node.toml:2: access.0.title: found 'A2345678901234567', expected an AE title of up to 16 characters,"
                " without blanks around it"
            )
        ],
    ),
    "several": (
        "[server]\nport = -1\n[limits]\nwindow = 0\nx = 1\n",
        [
            "node.toml:2: server.port: found -1, expected a number from 0 to 65535",
            "node.toml:4: limits.window: found 0, expected a number from 1 to 65535",
            (
                "node.toml:5: limits.x is not known; known here are associations, association_timeout, message_timeout,"
                " idle_timeout, window, pdu_excess"
            ),
        ],
    ),
    "a secret": (
        "tls.passphrase = 12345",
        ["node.toml:1: tls.passphrase: found what is given, expected a text"],
    ),
    "no title": ("server.ae_titles = []", ["node.toml:1: server.ae_titles: there must be one at least"]),
    "always and never": (
        "[queries]\nalways = ['empty']\nnever = ['empty']",
        ["node.toml:3: queries.never: empty is to hold always"],
    ),
    "a key without a level": (
        "[queries]\nkeep_keys = ['KVP']",
        [
            "node.toml:2: queries.keep_keys: 'KVP' is not KEYWORD@LEVEL; the level is PATIENT, STUDY, SERIES or IMAGE"
        ],
    ),
    "a database of another kind": (
        "storage.database = 'mysql://x/y'",
        [
            "node.toml:1: storage.database: a database is named by sqlite:///FILE or postgresql://[USER@]HOST/NAME"
        ],
    ),
    "a key file without certificate": (
        "[tls]\nkey = 'k'",
        ["node.toml:2: tls.key: it needs tls.certificate"],
    ),
    "authorities of clients who are not asked": (
        "[tls]\nclient_ca = 'c'",
        ['node.toml:2: tls.client_ca: it needs tls.client_certificate = "optional" or "required"'],
    ),
    "an address that is none": (
        "[[access]]\naddress = '10.0.0.300'\nallow = []",
        [
            (
                "node.toml:2: access.0.address: found '10.0.0.300', expected an address, a network such as 10.0.0.0/8"
                " (without bits behind the prefix) or a host name"
            )
        ],
    ),
    "clients who are asked without authorities": (
        "[tls]\ncertificate = 'c'\nclient_certificate = 'required'",
        ["node.toml:3: tls.client_certificate: it needs tls.client_ca"],
    ),
    "clients who are asked without TLS": (
        "[tls]\nclient_certificate = 'required'",
        ["node.toml:2: tls.client_certificate: it needs tls.certificate"],
    ),
    "a rule for certificates without TLS": (
        "[[access]]\ncertificate = 'a'\nallow = []",
        [
            (
                "node.toml:2: access.0.certificate: no client shows one without tls.certificate, and"
                ' tls.client_certificate = "optional" or "required"'
            )
        ],
    ),
    "two passphrases": (
        "[tls]\npassphrase = 'a'\npassphrase_file = 'b'",
        ["node.toml:3: tls.passphrase_file: there is tls.passphrase, too"],
    ),
    "two remotes of one title": (
        "[remotes.A]\nhost = 'a'\nport = 1\n[remotes.B]\nhost = 'a'\nport = 1\nae_title = 'A'",
        ["node.toml:4: remotes.B: remotes.A has the AE title A, too"],
    ),
    "a destination that is a remote, too": (
        "retrieval.destinations = ['A@a:1']\n[remotes.A]\nhost = 'a'\nport = 1",
        ["node.toml:2: remotes.A: retrieval.destinations has the AE title A, too"],
    ),
    "a destination without a title": (
        "[retrieval]\ndestinations = ['a:1']",
        [
            (
                "node.toml:2: retrieval.destinations: found 'a:1', expected a peer as AET@host:port, an IPv6 address"
                " in brackets"
            )
        ],
    ),
    "two destinations of one title": (
        "[retrieval]\ndestinations = ['A@a:1', 'A@b:1']",
        ["node.toml:2: retrieval.destinations: there are two with the AE title A"],
    ),
    "certificates for a remote that are none": (
        "[remotes.A]\nhost = 'a'\nport = 1\ntls = true\nca = 'node.toml'",
        [
            "node.toml:5: remotes.A.ca: node.toml: the file holds nothing that fits (NO_CERTIFICATE_OR_CRL_FOUND)"
        ],
    ),
    "a remote whose name is no title": (
        "[remotes.'much too long a name']\nhost = 'a'\nport = 1",
        ["node.toml:1: remotes.much too long a name: its name is no AE title; give ae_title"],
    ),
    "a certificate that is not there": (
        "[tls]\ncertificate = 'missing.pem'",
        ["node.toml:2: tls.certificate: missing.pem: No such file or directory"],
    ),
    "a certificate that is none": (
        "[tls]\ncertificate = 'node.toml'",
        ["node.toml:2: tls.certificate: node.toml: the file holds nothing that fits (not PEM)"],
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file(kind: str, file: Path) -> None:
    content, said = WRONG[kind]
    assert mistakes(file, content) == said


# A value of each kind that TOML has, and what is odd in texts.
VALUES = (
    *("true", "0", "1", "-1", "1.5", "nan", "inf", "99999999999999999999", "1979-05-27", "07:32:00"),
    *(
        "1979-05-27T07:32:00Z",
        '""',
        '"x"',
        '" x"',
        '"a b"',
        '"ü"',
        f'"{"x" * 300}"',
        '"a@b:1"',
        '"A@b\\u0000:1"',
    ),
    *('"\\u0000"', '"x\\u0000y"', '"x\\ny"', "[]", "[1]", "[[]]", '[""]', '["x"]', '["x\\u0000@image"]'),
    *('["A@b\\u0000:1"]', "[{}]", "{}", "{a = 1}"),
)
ROWS = {each.name: each for each in (*SETTINGS, *REMOTE_SETTINGS, *RULE_SETTINGS)}


@pytest.mark.parametrize("name", ROWS)
def test_any_value_of_a_key_is_taken_or_told_in_one_line_with_its_number(name: str, file: Path) -> None:
    row = ROWS[name]
    head, others = {
        "remotes": ("[remotes.A]", {"host": "'h'", "port": "1"}),
        "access": ("[[access]]", {"allow": "[]"}),
    }.get(row.section, (f"[{row.section}]", {}))
    lines = [f"{key} = {value}" for key, value in others.items() if key != row.key]
    outcomes = set()
    for value in VALUES:
        file.write_text("\n".join([head, "", f"{row.key} = {value}", *lines]))
        file.chmod(0o600)
        try:
            settings = read(file)
            if name != "access.address":
                # Its host names would be looked up.
                terms_of(settings)
        except Mistakes as mistakes:
            (line,) = mistakes.lines
            assert line.startswith(f"{file}:3: "), value
            assert row.key in line
            outcomes.add(False)
        else:
            assert "u0000" not in value
            outcomes.add(True)
    assert False in outcomes


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SERVER_PORT", "", "server.port: found '', expected a number from 0 to 65535"),
        ("SERVER_PORT", "0x68", "server.port: found '0x68', expected a number from 0 to 65535"),
        ("STORAGE_STRICT", "on", "storage.strict: found 'on', expected true or false"),
        (
            "SERVER",
            '{"port": 1}',
            "server is a table, whose keys have a variable each, such as DICOMNET_SERVER_ADDRESS",
        ),
        (
            "SERVER_",
            "1",
            "server is a table, whose keys have a variable each, such as DICOMNET_SERVER_ADDRESS",
        ),
        ("TLS_PASSPHRASE", "", "tls.passphrase: found what is given, expected a text"),
        ("REMOTES_PACS", "{}", "remotes is given as a whole, by DICOMNET_REMOTES"),
        ("REMOTES", "", "this is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("REMOTES", "1", "remotes: found 1, expected remotes, each under [remotes.NAME]"),
        ("REMOTES", "[" * 99999, "lists and tables are nested too deeply"),
        ("REMOTES", '{"A": {"host": "a", "port": 1}, "A": {}}', "A is there twice"),
        ("REMOTES", '{"A": {"host": "a", "port": 1, "port": 2}}', "port is there twice"),
        ("REMOTES", '{"A": {"port": 1}}', "remotes.A.host is missing; expected a host name or an address"),
        (
            "REMOTES",
            '{"A": {"host": null, "port": 1}}',
            "remotes.A.host: found nothing, expected a host name or an address",
        ),
        ("ACCESS", "{}", "access: found a table, expected rules, each under [[access]]"),
        ("ACCESS", '[{"alow": [], "allow": []}]', "access.0.alow is not known; did you mean allow?"),
    ],
)
def test_a_wrong_variable(name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}{name}", value)
    with pytest.raises(Mistakes) as caught:
        read(None)
    assert caught.value.lines == (f"{PREFIX}{name}: {said}",)


def test_a_wrong_table_is_told_though_a_variable_has_a_key_of_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DICOMNET_SERVER_PORT", "1")
    assert mistakes(file, "server = 1") == ["node.toml:1: server: found 1, expected a table"]


@pytest.mark.parametrize("content", [b"", b"\n", b"# nothing", b"\xef\xbb\xbf"])
def test_a_file_that_says_nothing(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    assert read(file) == read(None)


def test_what_is_wrong_elsewhere_is_said_of_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMNET_SERVER_PORT", "x")
    monkeypatch.setenv("DICOMNET_SERVER_PROT", "1")
    assert mistakes(file, "server.port = 1", limits__window=Text("none")) == [
        "--set limits.window: limits.window: found 'none', expected a number from 1 to 65535",
        "DICOMNET_SERVER_PORT: server.port: found 'x', expected a number from 0 to 65535",
        "DICOMNET_SERVER_PROT: server.prot is not known; did you mean port?",
    ]
    monkeypatch.delenv("DICOMNET_SERVER_PORT")
    monkeypatch.delenv("DICOMNET_SERVER_PROT")
    monkeypatch.setenv("DICOMNET_ACCESS", "[{")
    (said,) = mistakes(file, "")
    assert said.startswith("DICOMNET_ACCESS: this is not JSON: ")


def test_the_file_for_tls_that_cannot_be_used_is_named(file: Path) -> None:
    made = make_certificates(file.parent)
    (file.parent / "strange").mkdir()
    strange = make_certificates(file.parent / "strange")
    beginning = f"[tls]\ncertificate = '{made.certificate}'\n"
    assert mistakes(file, f"{beginning}key = '{strange.key}'") == [
        f"node.toml:2: tls.certificate: {made.certificate.name}: the key is not that of the certificate"
    ]
    asking = f"{beginning}key = '{made.key}'\nclient_certificate = 'required'\n"
    assert mistakes(file, f"{asking}client_ca = '{made.key}'")[0].startswith(
        f"node.toml:5: tls.client_ca: {made.key.name}: the file holds nothing that fits"
    )
    asking += f"client_ca = '{made.authority}'\n"
    assert mistakes(file, f"{asking}passphrase_file = 'none'") == [
        "node.toml:6: tls.passphrase_file: none: No such file or directory"
    ]


# -- what is shown


# Keys of a DICOMweb service, which none of the others go with.
OF_URLS = {"url", *TOKENS}


def _uncommented() -> Iterator[str]:
    """The lines of the example with all its keys."""
    names = {
        each.key for each in (*SETTINGS, *REMOTE_SETTINGS, *RULE_SETTINGS, *RETENTION_SETTINGS)
    } - OF_URLS
    for line in example().splitlines():
        key = line.removeprefix("# ").partition(" = ")[0]
        is_commented = line.startswith("# [") or (line.startswith("# ") and key in names)
        yield line.removeprefix("# ") if is_commented else line


def test_the_example_says_nothing_and_has_everything(file: Path) -> None:
    file.write_text(example())
    assert read(file) == read(None)
    file.write_text("\n".join(_uncommented()))
    settings = read(file)
    assert set(settings.origins) >= set(BY_NAME)
    assert set(settings.remotes["PACS"]) == {each.key for each in REMOTE_SETTINGS} - OF_URLS
    assert set((settings.access or ({},))[0]) == {each.key for each in RULE_SETTINGS}
    assert set(settings.retention[0]) == {each.key for each in RETENTION_SETTINGS}
    defaults = read(None)
    for each in SETTINGS:
        if each.default not in (None, ()) and not each.kind.is_path:
            assert settings[each.name] == defaults[each.name]


def test_the_manual_is_that_of_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    content = page.read_text()
    begin, end = "<!-- begin of the tables -->\n", "<!-- end of the tables -->"
    made = content.partition(begin)[2].partition(end)[0]
    assert made == f"\n{manual()}\n", "run python tools/configuration_tables.py"


def test_secrets_are_not_shown(file: Path) -> None:
    file.write_text("tls.passphrase = 'open sesame'\nstorage.database = 'postgresql://me:p@ss@host/name'")
    rows = {each.name: each for each in shown(read(file))}
    assert rows["tls.passphrase"].value == HIDDEN
    assert rows["storage.database"].value == '"postgresql://me:***@host/name"'
    assert rows["storage.database"].origin == f"{file}:2"
    assert "sesame" not in repr(rows)
    assert list(rows)[: len(SETTINGS)] == list(BY_NAME)


# -- what may change, and who is let in


def test_what_may_not_change_waits(file: Path) -> None:
    before = read(None)
    file.write_text(
        "server = {port = 1, workers = 2, drain = 1}\nstorage.folder = 'x'\ntls.certificate = 'c'"
    )
    wanted, kept = kept_for_the_next_start(before, read(file))
    assert set(kept) >= {"server.port", "server.workers", "storage.folder", "tls.certificate"}
    assert [each.name for each in before.differences(wanted)] == ["server.drain"]


@pytest.mark.parametrize(
    ("content", "is_so"),
    [
        ("", False),
        ("[[access]]\ntitle = 'A'\nallow = ['echo']", False),
        ("[[access]]\naddress = '10.0.0.0/8'\nallow = ['echo']", True),
        ("[[access]]\ntitle = 'A'\nallow = []\n[[access]]\ncertificate = 'a'\nallow = ['echo']", True),
        ("[tls]\ncertificate = 'x'\nclient_certificate = 'required'", True),
        ("[tls]\ncertificate = 'x'\nclient_certificate = 'optional'", False),
    ],
)
def test_who_is_let_in_by_proof_alone(content: str, is_so: bool, file: Path) -> None:
    file.write_text(content)
    settings: Settings = read(file)
    assert is_guarded(settings) is is_so


def test_the_words_of_the_table_are_those_of_the_node() -> None:
    """It does not import them."""
    assert tuple(each.value for each in OtherContent) == CONFLICTS
    assert tuple(operations_of_rules) == OPERATIONS
    assert tuple(each for each in QueryOptions.__annotations__ if each != "multiframe") == WAYS
    assert (retention.FACTS, retention.SINCE) == (FACTS, SINCE)


def test_a_port_that_is_to_have_tls_has_it_at_the_next_start(file: Path) -> None:
    before = read(None)
    file.write_text("tls = {certificate = 'c', key = 'k'}")
    wanted, kept = kept_for_the_next_start(before, read(file))
    assert kept == ["tls.certificate", "tls.key"]
    assert wanted.values == before.values


def test_a_section_has_no_underline() -> None:
    """The first one in a variable's name ends the section."""
    assert not any("_" in each for each in SECTIONS)

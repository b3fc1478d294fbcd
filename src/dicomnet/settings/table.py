"""The table of all settings of a node, some of which are for tools that call a peer, too.

Options of `dicomnet serve` and `receive`, the configuration file, environment variables, the example and the manual are
made from it. It needs no library, and little else, since each command with such options imports it.
"""

from __future__ import annotations

from typing import Any

from ..values import frozen
from ..wire.scanner import PDU_EXCESS
from .kinds import (
    DURATION,
    FILE,
    FLAG,
    FOLDER,
    HOST_NAME,
    ORIGIN,
    PEER,
    PORT,
    SECONDS,
    SYSLOG_ADDRESS,
    TITLE,
    WEB_ADDRESS,
    Kind,
    as_toml,
    choice,
    number,
    several,
    text,
)

# What begins the name of each environment variable.
PREFIX = "DICOMNET_"
# What is the archive's own: the ways of matching of `archive.catalogue.options.QueryOptions` that a node can do, the
# values of `archive.conflicts.OtherContent`, the keys of `archive.access.OPERATIONS`, the words of `archive.retention`.
WAYS = ("relational", "combined", "fuzzy", "timezone", "empty", "multiple")
CONFLICTS = ("keep-first", "replace", "refuse")
OPERATIONS = ("echo", "store", "find", "get", "move")
FACTS = ("committed", "forwarded")
SINCE = ("received", "study-date")
COUNT = number(1, 65535)


@frozen
class Setting:
    """A setting: a row of the table.

    Parameters
    ----------
    section, key
        The table of the file that it is in, and its name there.
    kind
        What its values are.
    default
        Its value where nobody says anything; None for none.
    help
        What it does, without the default.
    options
        The options of the command, empty where there is none.
    metavar
        What stands for the value in the help of the option.
    absent
        What holds where there is no value, in words.
    may_change
        Whether a new value counts when the configuration is read again; else at the next start.
    needs_index
        Whether it is only for a node that answers queries, and so not for `dicomnet receive`.
    is_required
        Whether it must be given, in the entries of ``remotes`` and ``access``.
    """

    section: str
    key: str
    kind: Kind
    default: Any
    help: str
    options: tuple[str, ...] = ()
    metavar: str | None = None
    absent: str = ""
    may_change: bool = False
    needs_index: bool = False
    is_required: bool = False

    @property
    def name(self) -> str:
        """Section and key."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"{PREFIX}{self.section}_{self.key}".upper()

    @property
    def shown_default(self) -> str:
        """The default, in words."""
        if self.default is None:
            return self.absent or "none"
        if self.kind.is_list:
            return ", ".join(map(str, self.default)) or self.absent or "none"
        return as_toml(self.default).strip('"')


SECTIONS = {
    "storage": "Where objects are kept, and which.",
    "server": "How peers reach the node, and what it is called.",
    "limits": "What peers may use at most. A time of 0 is without end.",
    "queries": "What queries may do.",
    "retrieval": "What is given out (C-GET, C-MOVE).",
    "deletion": "What becomes of objects that are deleted, and when the rules for that (see retention) are applied.",
    "tls": "TLS, which is used where there is a certificate. Python's own choice of ciphers, TLS 1.2 at least.",
    "logging": "What is written to standard error.",
    "web": "DICOMweb, by HTTP on a port of its own, for viewers and scripts.",
    "audit": "Who asked for, saw, brought and deleted what, recorded in the ledger; dicomnet audit shows it.",
    "watch": "Health and metrics, by HTTP on a port of its own. Whoever can reach it may read them; they have no"
    " patients' data.",
}
REMOTES, ACCESS, RETENTION = "remotes", "access", "retention"
# Those of which there may be many, each with a name or in an order.
MANY = {
    REMOTES: "Other nodes by a name of your choice: a node may move objects to them, and tools call them by it.",
    ACCESS: "Who may do what: of the rules the first that fits a peer counts; it fits where all fit that it names of "
    "title, address and certificate. A peer that no rule fits, or that may do nothing, is rejected; of one that may do "
    "some, only the presentation contexts for that are accepted. Without this table everybody may do "
    "everything; with an empty one, nobody.",
    RETENTION: "Which studies the node removes by itself, the oldest first, each as a whole and recorded with the "
    "name of the rule. Of a rule all must hold that it says; it must say after, free or both. No study is removed of a "
    "protected patient. Without rules, nothing is ever removed.",
}


def _check_address(found: str) -> None:
    from ipaddress import ip_network

    ip_network(found)


def _header(found: str) -> None:
    # What a header may be called (RFC 9110 section 5.1), without what nobody uses.
    if not found.isascii() or not found.replace("-", "").isalnum():
        raise ValueError


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "storage",
        "folder",
        FOLDER,
        "dicomnet-data",
        "where objects and index are kept; created if it does not exist",
        ("--data",),
        "DIR",
        needs_index=True,
    ),
    Setting(
        "storage",
        "database",
        text("a URL"),
        None,
        "where index and ledger are, such as postgresql://USER@HOST/NAME",
        ("--database",),
        "URL",
        "files in the folder of the objects",
        needs_index=True,
    ),
    Setting(
        "storage",
        "on_conflict",
        choice(*CONFLICTS),
        CONFLICTS[0],
        "what becomes of an object whose SOP Instance UID a stored object with other content has: it is kept in"
        " quarantine and answered with a warning, it takes the place of the other one, which is kept as a version, or"
        " it is refused",
        ("--on-conflict",),
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "storage",
        "strict",
        FLAG,
        False,
        "refuse objects whose form breaks the standard, such as zeros behind the last element; without this"
        " they are stored as they were received, with a warning in the log",
        ("--strict",),
    ),
    Setting(
        "storage",
        "accept_private",
        FLAG,
        False,
        "also store objects of unknown SOP classes, such as private ones",
        ("--accept-private",),
        may_change=True,
    ),
    Setting(
        "server",
        "address",
        text("an address or a host name", may_be_empty=True),
        "127.0.0.1",
        "the address to listen on; empty is every IPv4 address",
        ("--bind",),
        "ADDRESS",
    ),
    Setting(
        "server",
        "port",
        PORT,
        11112,
        "the port to listen on; 0 chooses a free one",
        ("-p", "--port"),
        "PORT",
    ),
    Setting(
        "server",
        "allow_public",
        FLAG,
        False,
        "listen on an address that other machines can reach, though anybody may then store, query and retrieve",
        ("--allow-public",),
    ),
    Setting(
        "server",
        "ae_titles",
        several(TITLE),
        ("DICOMNET",),
        "our AE titles, the first of which we use as a client",
        ("-aet", "--aet"),
        "AET[,AET...]",
        may_change=True,
    ),
    Setting(
        "server",
        "any_called_title",
        FLAG,
        True,
        "whether associations are accepted that call us by a title that is not ours",
        may_change=True,
    ),
    Setting(
        "server",
        "workers",
        COUNT,
        1,
        "how many processes accept associations, so that parallel senders use more than one core",
        ("--workers",),
        "N",
    ),
    Setting(
        "server",
        "drain",
        SECONDS,
        30.0,
        "how long open associations may go on after SIGTERM or Ctrl-C, in seconds; a second signal ends at once",
        ("--drain",),
        "SECONDS",
        may_change=True,
    ),
    Setting(
        "limits",
        "associations",
        COUNT,
        256,
        "how many associations may be open at once, in each worker process",
        may_change=True,
    ),
    Setting(
        "limits",
        "association_timeout",
        SECONDS,
        30.0,
        "how long TLS handshake, negotiation and release may take, each, in seconds",
        may_change=True,
    ),
    Setting(
        "limits",
        "message_timeout",
        SECONDS,
        30.0,
        "how long a message may take beyond what its size earns, in seconds",
        may_change=True,
    ),
    Setting(
        "limits",
        "idle_timeout",
        SECONDS,
        60.0,
        "how long nothing may happen on an association, in seconds",
        may_change=True,
    ),
    Setting(
        "limits",
        "window",
        COUNT,
        16,
        "how many C-STORE requests a peer may have outstanding, if it negotiates that",
        may_change=True,
    ),
    Setting(
        "limits",
        "pdu_excess",
        number(0, 1 << 30),
        PDU_EXCESS,
        "how many bytes longer than announced a P-DATA-TF PDU may be, which is logged; a longer one ends the"
        " association",
        may_change=True,
    ),
    Setting(
        "queries",
        "max_matches",
        number(1),
        None,
        "how many matches a query has at most; one that has more ends with the status 0xB001",
        ("--max-matches",),
        "N",
        "any number",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "queries",
        "always",
        several(choice(*WAYS)),
        (),
        "ways of matching that hold without being negotiated: relational (the keys of the levels above may be left"
        " out), combined (a date and its time are one range), fuzzy (names that sound alike), timezone (the request's"
        ' offset counts), empty ("" matches what has no value), multiple (each value of a key must match)',
        ("--query-always",),
        "WAY[,WAY...]",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "queries",
        "never",
        several(choice(*WAYS)),
        (),
        "ways of matching that are refused when they are negotiated",
        ("--query-never",),
        "WAY[,WAY...]",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "queries",
        "keep_keys",
        several(text(), None),
        (),
        "attributes that the index keeps at a level (patient, study, series, image) besides those that it always"
        " keeps, by keyword or (gggg,eeee); those of objects that are there already are read from the files in the"
        " background",
        ("--keep-key",),
        "KEY[,KEY...]@LEVEL",
        needs_index=True,
    ),
    Setting(
        "retrieval",
        "destinations",
        several(PEER),
        (),
        "where objects may be moved to (C-MOVE), besides the remotes",
        ("--destination",),
        "AET@host:port",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "retrieval",
        "jobs",
        COUNT,
        1,
        "how many associations a C-MOVE may have side by side with its destination",
        ("--destination-jobs",),
        "N",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "retrieval",
        "decompress",
        choice("never", "if-needed"),
        "if-needed",
        "what becomes of a compressed object whose receiver takes native ones only: it counts as failed, or it is"
        " decompressed",
        ("--decompress",),
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "deletion",
        "keep",
        DURATION,
        "7 days",
        "how long the files of objects that dicomnet delete deletes are kept in the trash, from which dicomnet undelete"
        " brings them back; 0 is not at all",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "deletion",
        "interval",
        DURATION,
        "1 hour",
        "how often the rules of retention are applied",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "deletion",
        "quiet",
        DURATION,
        "1 hour",
        "how long nothing must have been received or given out of a study before a rule of retention may remove it",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "tls",
        "certificate",
        FILE,
        None,
        "our certificate (PEM), with those up to its authority behind it; without one there is no TLS",
        ("--tls-cert",),
        "FILE",
        may_change=True,
    ),
    Setting(
        "tls",
        "key",
        FILE,
        None,
        "its private key (PEM)",
        ("--tls-key",),
        "FILE",
        "in the file of the certificate",
        may_change=True,
    ),
    Setting(
        "tls",
        "passphrase",
        text(is_secret=True),
        None,
        "the passphrase of the key; a file that only we can read, or the environment, is the better place",
        may_change=True,
    ),
    Setting(
        "tls",
        "passphrase_file",
        FILE,
        None,
        "a file whose first line is the passphrase of the key",
        may_change=True,
    ),
    Setting(
        "tls",
        "client_ca",
        FILE,
        None,
        "certificates (PEM) of the authorities of clients, or of the clients themselves",
        ("--tls-ca",),
        "FILE",
        may_change=True,
    ),
    Setting(
        "tls",
        "client_certificate",
        choice("none", "optional", "required"),
        "none",
        "whether clients are asked for a certificate, and whether they must have one",
        ("--tls-client-certificate",),
        may_change=True,
    ),
    Setting(
        "logging",
        "level",
        choice("error", "warning", "info", "debug"),
        "warning",
        "what is logged: failures, what an administrator has to know, each step, the network's traffic"
        " (-q, -v and -d are error, info and debug)",
        may_change=True,
    ),
    Setting(
        "logging",
        "format",
        choice("text", "json"),
        "text",
        "a line of text, or an object of JSON in a line",
        ("--log-format",),
        may_change=True,
    ),
    Setting(
        "logging",
        "identifiers",
        FLAG,
        False,
        "at level debug, also log the keys and values of queries and their matches: patients' data",
        may_change=True,
    ),
    Setting(
        "web",
        "listen",
        WEB_ADDRESS,
        "127.0.0.1:8080",
        "where DICOMweb is, by HTTP; off for nowhere. If the port is in use though nobody asked for it, the node starts"
        " without DICOMweb",
        ("--http",),
        "HOST:PORT",
        needs_index=True,
    ),
    Setting(
        "web",
        "allow_public",
        FLAG,
        False,
        "DICOMweb on an address that other machines can reach, though nobody has to prove who they are",
        needs_index=True,
    ),
    Setting(
        "web",
        "allow_delete",
        FLAG,
        False,
        "DELETE of studies, series and instances by DICOMweb; their files are kept in the trash as deletion.keep says",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "origins",
        several(ORIGIN),
        (),
        "web pages of which origins, such as https://viewer.example, may use DICOMweb in a browser (CORS); * is all",
        absent="only those of this address",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "hosts",
        several(HOST_NAME),
        (),
        "names by which browsers reach a node that listens on its own machine only, such as that of a proxy, or one"
        " without users; an address is always one",
        absent="only localhost, and without users on a public address any",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "tls",
        FLAG,
        False,
        "DICOMweb by TLS (https), with the certificate of [tls]",
        needs_index=True,
    ),
    Setting(
        "web",
        "users",
        FILE,
        None,
        "the file with those who may use DICOMweb and with the tokens of scripts, which dicomnet users changes; it is"
        " looked at again whenever it changes",
        absent="whoever reaches it may do everything",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "session",
        DURATION,
        "12 h",
        "how long one is logged in",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "proxies",
        several(
            text(
                "an address, or a network such as 10.0.0.0/8 (without bits behind the prefix)", _check_address
            )
        ),
        (),
        "the addresses of reverse proxies, which are trusted in X-Forwarded-For and X-Forwarded-Proto",
        absent="none is trusted",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "user_header",
        text("the name of a header of HTTP", _header),
        None,
        "the header by which these proxies name a user whom they have authenticated, and which they take away where a"
        " client sends it; he must be in web.users, where he needs no password",
        absent="proxies authenticate nobody",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "web",
        "viewer",
        FOLDER,
        None,
        "the folder of the viewer OHIF, which is at /ohif/ as soon as dicomnet viewer has installed it there",
        absent="dicomnet/ohif in the folder of the user's data",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "enabled",
        FLAG,
        False,
        "whether the audit trail is written",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "keep",
        DURATION,
        "1 year",
        "how long its entries are kept; those are kept for longer that the file or the server has not received",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "file",
        FILE,
        None,
        "a file to which each entry is written as an audit message (XML, PS3.15), a line each; when it was moved away,"
        " another one is begun",
        absent="no file",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "syslog",
        SYSLOG_ADDRESS,
        None,
        "the syslog server to which they are sent, by TLS, or by UDP where it begins with udp://, which loses messages",
        absent="no server",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "syslog_ca",
        FILE,
        None,
        "certificates (PEM) by which that server is trusted",
        absent="those of the system",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "syslog_certificate",
        FILE,
        None,
        "the certificate (PEM) that it is shown",
        absent="none",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "audit",
        "syslog_key",
        FILE,
        None,
        "the key (PEM) of that, without a passphrase",
        absent="in the file of the certificate",
        may_change=True,
        needs_index=True,
    ),
    Setting(
        "watch",
        "port",
        PORT,
        None,
        "the port for /health and /metrics; 0 chooses a free one",
        ("--watch-port",),
        "PORT",
        "neither is shown, and nothing is counted",
    ),
    Setting(
        "watch",
        "address",
        text("an address or a host name", may_be_empty=True),
        "127.0.0.1",
        "the address for them; empty is every IPv4 address",
    ),
    Setting(
        "watch",
        "allow_public",
        FLAG,
        False,
        "show them on an address that other machines can reach, though nobody has to prove who they are",
    ),
    Setting(
        "watch",
        "disk_reserve",
        number(0),
        1024,
        "how many MiB must be free where objects, journal and database are; below that the node is not ready",
        may_change=True,
    ),
    Setting(
        "watch",
        "certificate_days",
        number(0, 3650),
        30,
        "how many days before our certificate expires /health warns of it; when it has, the node is not ready",
        may_change=True,
    ),
)


BY_NAME = {each.name: each for each in SETTINGS}

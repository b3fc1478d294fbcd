"""The keys of the tables of which there may be many: of a remote, a rule of access and a rule of retention."""

from __future__ import annotations

from .kinds import (
    DURATION,
    FILE,
    FLAG,
    PEERS_TITLE,
    SECONDS,
    SPACE,
    TITLE,
    choice,
    number,
    several,
    text,
)
from .table import ACCESS, COUNT, FACTS, OPERATIONS, REMOTES, RETENTION, SINCE, Setting

# How objects are retrieved of a remote: `auto` is found out.
GET, MOVE, AUTO = "get", "move", "auto"
RETRIEVALS = (GET, MOVE, AUTO)


def _check_network(found: str) -> None:
    from ipaddress import ip_network

    if "/" in found or ":" in found or not any(map(str.isalpha, found)):
        ip_network(found)


def _check_receiver(found: str) -> None:
    from ..exchange.addresses import PeerAddress

    if "@" in found:
        raise ValueError
    PeerAddress.parse(found)


def _check_rate(found: str) -> None:
    from ..exchange.pacing import Rate

    Rate.parse(found)


def _check_times(found: str) -> None:
    from ..exchange.pacing import Times

    Times.parse(found)


def _check_character_set(found: str) -> None:
    from ..datasets.character_sets import defined_terms

    defined_terms(found)


def _check_url(found: str) -> None:
    from ..exchange.web_addresses import WebAddress

    WebAddress.parse(found)


# What those who call a remote know of it, and a node is not concerned with.
_OF_CALLERS: tuple[Setting, ...] = (
    Setting(
        REMOTES,
        "check_host",
        FLAG,
        True,
        "whether its certificate must be for the host that is called; without that any that is trusted will do",
    ),
    Setting(
        REMOTES,
        "certificate",
        FILE,
        None,
        "our certificate (PEM) there",
        absent="that of [tls]",
    ),
    Setting(REMOTES, "key", FILE, None, "its private key (PEM)", absent="in the file of the certificate"),
    Setting(REMOTES, "calling", TITLE, None, "our AE title there", absent="the first of ae_titles"),
    Setting(REMOTES, "user", text("a name"), None, "the user that we say to be", absent="nobody"),
    Setting(
        REMOTES,
        "passcode",
        text("a passcode", is_secret=True),
        None,
        "that user's passcode; only in a file that others may not read",
    ),
    Setting(
        REMOTES,
        "passcode_file",
        FILE,
        None,
        "a file whose first line is the passcode; others may not read it",
    ),
    Setting(
        REMOTES,
        "passcode_variable",
        text("the name of a variable"),
        None,
        "the environment variable that has it",
    ),
    Setting(
        REMOTES,
        "passcode_command",
        text("a command"),
        None,
        "a command whose first line of output it is, such as pass show pacs; it is run without a shell",
    ),
    Setting(
        REMOTES,
        "connect_timeout",
        SECONDS,
        None,
        "how long the connection may take, in seconds; 0 is without end",
        absent="10",
    ),
    Setting(
        REMOTES,
        "association_timeout",
        SECONDS,
        None,
        "how long TLS handshake, negotiation and release may take, each",
        absent="that of [limits]",
    ),
    Setting(
        REMOTES,
        "message_timeout",
        SECONDS,
        None,
        "how long a message may take beyond what its size earns",
        absent="that of [limits]",
    ),
    Setting(
        REMOTES,
        "retrieve",
        choice(*RETRIEVALS),
        None,
        "how dicomnet fetch retrieves: by C-GET, by C-MOVE, or as the peer allows, which is found out once a run",
        absent="get",
    ),
    Setting(
        REMOTES,
        "destination",
        TITLE,
        None,
        "our AE title as the destination of a C-MOVE, which the peer knows together with the receiver's address",
        absent="calling",
    ),
    Setting(
        REMOTES,
        "receiver",
        text("host:port, an IPv6 address in brackets", _check_receiver),
        None,
        "where a command that receives by C-MOVE listens; to name it here allows one that other machines can reach",
        absent="127.0.0.1:11112",
    ),
    Setting(
        REMOTES,
        "character_set",
        text("a character set, such as ISO_IR 100", _check_character_set),
        None,
        "the Specific Character Set of our queries",
        absent="ISO_IR 192 where a key needs one",
    ),
    Setting(
        REMOTES, "window", COUNT, None, "how many C-STORE requests may wait for their response", absent="16"
    ),
    Setting(
        REMOTES,
        "max_pdu",
        number(4096, 1 << 28),
        None,
        "the largest PDU that it may send us, in bytes",
        absent="786432",
    ),
    Setting(
        REMOTES,
        "jobs",
        COUNT,
        None,
        "how many associations side by side dicomnet store and fetch use",
        absent="1",
    ),
    Setting(
        REMOTES,
        "rate",
        text("a rate, such as 50/s or 10MB/s", _check_rate),
        None,
        "how much dicomnet store and fetch move in a second at most",
        absent="any",
    ),
    Setting(
        REMOTES,
        "between",
        text("a part of the day, such as 19:00-06:00", _check_times),
        None,
        "at which times of the day they do",
        absent="any",
    ),
)
# The keys of a remote, of a rule of access, and of one of retention.
REMOTE_SETTINGS: tuple[Setting, ...] = (
    Setting(
        REMOTES,
        "host",
        text("a host name or an address"),
        None,
        "where it is, unless there is url",
        is_required=True,
    ),
    Setting(REMOTES, "port", number(1, 65535), None, "its port, unless there is url", is_required=True),
    Setting(
        REMOTES,
        "url",
        text("https://host/path", _check_url),
        None,
        "a DICOMweb service in the place of host and port, which a node stores to by STOW-RS",
    ),
    Setting(
        REMOTES,
        "ae_title",
        TITLE,
        None,
        "its AE title; of a DICOMweb service the one by which it is the destination of a C-MOVE",
        absent="its name here",
    ),
    Setting(REMOTES, "tls", FLAG, False, "whether it is reached by TLS; we show it the certificate of [tls]"),
    Setting(
        REMOTES,
        "ca",
        FILE,
        None,
        "certificates (PEM) to trust, where tls = true",
        absent="those of the system",
    ),
    Setting(
        REMOTES,
        "token_file",
        FILE,
        None,
        "a file whose first line is the token that a DICOMweb service is shown; others may not read it",
    ),
    Setting(
        REMOTES,
        "token_variable",
        text("the name of a variable"),
        None,
        "the environment variable that has the token",
    ),
    Setting(
        REMOTES,
        "token_command",
        text("a command"),
        None,
        "a command whose first line of output the token is; it is run without a shell",
    ),
    *_OF_CALLERS,
)
# The names of those that are nothing to a node.
FOR_CALLERS = frozenset(each.name for each in _OF_CALLERS)
RULE_SETTINGS: tuple[Setting, ...] = (
    Setting(ACCESS, "title", PEERS_TITLE, None, "the AE title that the peer calls itself", absent="any"),
    Setting(
        ACCESS,
        "address",
        text(
            "an address, a network such as 10.0.0.0/8 (without bits behind the prefix) or a host name",
            _check_network,
        ),
        None,
        "its address, a network such as 10.1.0.0/16, or a host name, which is looked up when the file is read",
        absent="any",
    ),
    Setting(
        ACCESS,
        "certificate",
        text("a name"),
        None,
        "who it is by its verified certificate: the common name, the whole subject as in CN=ct1,O=Hospital, or one of"
        " the subject alternative names",
        absent="any, or none",
    ),
    Setting(
        ACCESS,
        "allow",
        several(choice(*OPERATIONS)),
        None,
        f"what it may do: {', '.join(OPERATIONS)}; an empty list is nothing",
        is_required=True,
    ),
)

RETENTION_SETTINGS: tuple[Setting, ...] = (
    Setting(RETENTION, "name", text("a name"), None, "what it is called in ledger and log", is_required=True),
    Setting(RETENTION, "after", DURATION, None, "how old a study must be", absent="any age"),
    Setting(
        RETENTION,
        "since",
        choice(*SINCE),
        SINCE[0],
        "from when its age counts, and which is the oldest: when its last object was received, or the end of the latest"
        " day that an object of it says to be its study date; a study without one is not removed then",
    ),
    Setting(
        RETENTION,
        "free",
        SPACE,
        None,
        "only as long as less is free than that on the volume of the objects",
        absent="however much is free",
    ),
    Setting(
        RETENTION,
        "titles",
        several(PEERS_TITLE),
        (),
        "AE titles: only studies of which all objects were sent by one of them",
        absent="any",
    ),
    Setting(
        RETENTION,
        "modalities",
        several(text("a modality")),
        (),
        "only studies of which all series are of one of these modalities",
        absent="any",
    ),
    Setting(
        RETENTION,
        "institutions",
        several(text("a name")),
        (),
        "only studies of which all series have one of these institution names",
        absent="any",
    ),
    Setting(
        RETENTION,
        "require",
        several(choice(*FACTS)),
        (),
        "what must be known of all objects of a study before it is removed; of no object the archive knows any of these"
        " yet, so that a rule that requires one removes nothing, and the log says so",
        absent="nothing",
    ),
    Setting(
        RETENTION,
        "keep",
        DURATION,
        0,
        "how long the files stay in the trash; not at all where the rule says free, as that is on the same volume",
    ),
)

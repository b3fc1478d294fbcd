"""What settings mean to a node: whether they fit together, the terms that they are, and how it is made."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from ..drivers.tls import ClientCertificate, ServerCertificate
from ..encoding.transfer_syntaxes import Transcoding
from ..errors import UsersUnusable
from ..exchange.addresses import PeerAddress
from ..exchange.logs import Log
from ..exchange.web_addresses import WebAddress
from ..peers.target import credentials_of
from ..settings.certificates import can_be_used, context_for, passphrase_of
from ..settings.example import shown
from ..settings.kinds import syslog_address
from ..settings.mistakes import Mistakes
from ..settings.table import ACCESS, REMOTES, RETENTION
from ..settings.values import Settings, conditions, defaults
from ..values import replace
from .access import OPERATIONS, Access, Rule, networks_of
from .audit import AuditPolicy, SyslogServer, SyslogTransport
from .catalogue.options import SUPPORTED, QueryOptions, QueryPolicy
from .conflicts import OtherContent
from .retention import RetentionPolicy, RetentionRule
from .services.retrieve import RetrievePolicy, destinations_of
from .terms import Terms
from .users import UsersFile
from .viewer import usual_folder
from .watch.policy import WatchPolicy
from .web.access.policy import WebPolicy

LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}
_ASKED = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def log_of(settings: Settings) -> Log:
    """What is logged."""
    return Log(
        LEVELS[settings["logging.level"]],
        settings["logging.format"] == "json",
        settings["logging.identifiers"],
    )


def terms_of(settings: Settings) -> Terms:
    """The terms of a node with these settings.

    Raises
    ------
    Mistakes
        If they do not fit together, or a file that they name cannot be used.
    """
    _check(settings)
    # First, as what is wrong with it is wrong of all that is reached by TLS.
    certificate = _certificate(settings)
    titles = settings["server.ae_titles"]
    return Terms(
        called_titles=() if settings["server.any_called_title"] else titles,
        access=_access(settings),
        timeouts=settings.timeouts,
        maximum_associations=settings["limits.associations"],
        window=settings["limits.window"],
        accepts_private=settings["storage.accept_private"],
        excess=settings["limits.pdu_excess"],
        other_content=OtherContent(settings["storage.on_conflict"]),
        queries=QueryPolicy(
            supported=replace(SUPPORTED, **dict.fromkeys(settings["queries.never"], False)),
            always=QueryOptions(**dict.fromkeys(settings["queries.always"], True)),
            maximum=settings["queries.max_matches"],
        ),
        retrieval=_retrieval(settings),
        watch=WatchPolicy(settings["watch.disk_reserve"] << 20, settings["watch.certificate_days"]),
        web=_web(settings, certificate),
        tls=certificate,
        retention=_retention(settings),
        audit=_audit(settings),
        log=log_of(settings),
        shown=tuple(shown(settings)),
    )


def node_options(settings: Settings, terms: Terms) -> dict[str, Any]:
    """The parameters of `archive.node.Node`, besides folder and address."""
    return {
        "ae_title": settings["server.ae_titles"][0],
        "strict": settings["storage.strict"],
        "workers": settings["server.workers"],
        "database": settings["storage.database"],
        "keys": settings["queries.keep_keys"],
        "terms": terms,
        "watch": None
        if settings["watch.port"] is None
        else (settings["watch.address"], settings["watch.port"]),
    }


def kept_for_the_next_start(before: Settings, after: Settings) -> tuple[Settings, list[str]]:
    """The settings that hold after a change while a node runs, and the names of those that wait for the next start."""
    # A port has TLS or not, for as long as it is open.
    is_other_port = (before["tls.certificate"] is None) is not (after["tls.certificate"] is None)
    kept = [
        each.name
        for each in after.differences(before)
        if not each.may_change or (is_other_port and each.section == "tls")
    ]
    values = dict(after.values) | {each: before[each] for each in kept}
    return replace(after, values=values), kept


def is_guarded(settings: Settings) -> bool:
    """Whether nobody may do anything who cannot prove to be somebody: by address, or by certificate."""
    if settings["tls.certificate"] is not None and settings["tls.client_certificate"] == "required":
        return True
    # A title alone is no proof.
    proofs = ("address", "certificate")
    rules = settings.access
    return rules is not None and all(
        not rule["allow"] or any(rule.get(each) is not None for each in proofs) for rule in rules
    )


def is_web_guarded(settings: Settings) -> bool:
    """Whether nobody may do anything by HTTP who cannot prove to be somebody, and no third one can listen."""
    return settings["web.users"] is not None and bool(settings["web.tls"] or settings["web.proxies"])


def _access(settings: Settings) -> Access:
    if settings.access is None:
        return Access()
    return Access(
        tuple(
            Rule(
                each.get("title"),
                None if each.get("address") is None else networks_of(each["address"]),
                each.get("certificate"),
                frozenset(OPERATIONS[word] for word in each["allow"]),
            )
            for each in settings.access
        )
    )


def _web(settings: Settings, certificate: ServerCertificate | None) -> WebPolicy:
    path = settings["web.users"]
    users = None if path is None else UsersFile(path)
    if users is not None:
        if find_spec("argon2") is None:
            raise Mistakes([settings.said("web.users", "run pip install 'dicomnet[web]'")])
        try:
            can_be_used(settings, "web.users", path, users.read)
        except UsersUnusable as error:
            raise Mistakes([settings.said("web.users", f"{error.path}: {error.cause}")]) from None
    return WebPolicy(
        settings["web.origins"],
        settings["web.hosts"],
        users,
        float(settings["web.session"]),
        tuple(map(ip_network, settings["web.proxies"])),
        settings["web.user_header"] or "",
        is_behind_proxies=is_web_guarded(settings)
        and not settings["web.tls"]
        and not settings["web.allow_public"],
        # Browsers of people have no certificate to show.
        tls=None
        if certificate is None or not settings["web.tls"]
        else replace(certificate, client_ca=None, client_certificate=ssl.CERT_NONE),
        may_delete=settings["web.allow_delete"],
        keep=settings["deletion.keep"],
        viewer=usual_folder() if settings["web.viewer"] is None else Path(settings["web.viewer"]),
    )


def _audit(settings: Settings) -> AuditPolicy:
    server = None
    if settings["audit.syslog"] is not None:
        scheme, host, port = syslog_address(settings["audit.syslog"])
        names = ("audit.syslog_ca", "audit.syslog_certificate", "audit.syslog_key")
        certificate = ClientCertificate(*(_text(settings[name]) for name in names))
        server = SyslogServer(host, port, SyslogTransport(scheme), certificate)
        if server.transport is SyslogTransport.TLS:
            named = [name for name in names if settings[name] is not None]
            for name in named[:1]:
                can_be_used(settings, name, settings[name], certificate.context)
    path = settings["audit.file"]
    return AuditPolicy(
        settings["audit.enabled"], settings["audit.keep"], "" if path is None else str(path), server
    )


def _retention(settings: Settings) -> RetentionPolicy:
    return RetentionPolicy(
        tuple(RetentionRule(**each) for each in settings.retention),
        settings["deletion.interval"],
        settings["deletion.quiet"],
    )


def _retrieval(settings: Settings) -> RetrievePolicy:
    """What is given out; the remotes are destinations, too, and we show them the certificate that we have."""
    remotes = [settings.remote(name) for name in settings.remotes]
    by_tls = [each for each in remotes if each.tls]
    for each in by_tls:
        context_for(settings, each)
    destinations: dict[str, PeerAddress | WebAddress] = {
        **destinations_of(settings["retrieval.destinations"])
    }
    return RetrievePolicy(
        destinations | {each.title: each.peer for each in remotes},
        settings["retrieval.jobs"],
        Transcoding(settings["retrieval.decompress"]),
        {
            each.title: ClientCertificate(
                each.ca,
                _text(settings["tls.certificate"]),
                _text(settings["tls.key"]),
                passphrase_of(settings),
            )
            for each in by_tls
        },
        {
            each.title: partial(credentials_of, settings, each)
            for each in remotes
            if not isinstance(each.peer, PeerAddress)
        },
    )


def _certificate(settings: Settings) -> ServerCertificate | None:
    if settings["tls.certificate"] is None:
        return None
    made = ServerCertificate(
        str(settings["tls.certificate"]),
        _text(settings["tls.key"]),
        passphrase_of(settings),
        _text(settings["tls.client_ca"]),
        _ASKED[settings["tls.client_certificate"]],
    )
    # Which of the files it is, neither OpenSSL nor Python tells.
    alone = replace(made, client_ca=None, client_certificate=ssl.CERT_NONE)
    for each, name in ((alone, "tls.certificate"), (made, "tls.client_ca")):
        can_be_used(settings, name, settings[name], each.context)
    return made


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _check(settings: Settings) -> None:
    """Raise Mistakes if settings do not fit together."""
    said = [settings.said(name, words) for name, is_wrong, words in _conditions(settings) if is_wrong]
    for name, check in _CHECKS.items():
        if settings[name] != defaults()[name]:
            try:
                check(settings[name])
            except ValueError as error:
                said.append(settings.said(name, str(error)))
    if said:
        raise Mistakes(said)


def _conditions(settings: Settings) -> list[tuple[str, bool, str]]:
    """What must not be, each with the setting to change, and in words."""
    values: Mapping[str, Any] = settings.values
    has_tls = values["tls.certificate"] is not None
    asks = values["tls.client_certificate"] != "none"
    rows = [
        *conditions(settings),
        ("tls.client_certificate", asks and not has_tls, "it needs tls.certificate"),
        ("web.tls", values["web.tls"] and not has_tls, "it needs tls.certificate"),
        *(
            (
                name,
                values[name] is not None and (values["audit.syslog"] or "udp:").startswith("udp:"),
                "it needs audit.syslog, by TLS",
            )
            for name in ("audit.syslog_ca", "audit.syslog_certificate")
        ),
        (
            "audit.syslog_key",
            values["audit.syslog_key"] is not None and values["audit.syslog_certificate"] is None,
            "it needs audit.syslog_certificate",
        ),
        (
            "web.user_header",
            values["web.user_header"] is not None and not (values["web.proxies"] and values["web.users"]),
            "it needs web.proxies, which alone may say it, and web.users",
        ),
        (
            # Those of the system would let in whoever can buy one.
            "tls.client_certificate",
            asks and has_tls and values["tls.client_ca"] is None,
            "it needs tls.client_ca",
        ),
        (
            "tls.client_ca",
            values["tls.client_ca"] is not None and not asks,
            'it needs tls.client_certificate = "optional" or "required"',
        ),
    ]
    for way in values["queries.always"]:
        rows += [
            ("queries.never", way in values["queries.never"], f"{way} is to hold always"),
            ("queries.always", not getattr(SUPPORTED, way), f"{way}: run pip install 'dicomnet[archive]'"),
        ]
    for index, rule in enumerate(settings.access or ()):
        is_in_vain = rule.get("certificate") is not None and not (has_tls and asks)
        rows.append(
            (
                f"{ACCESS}.{index}.certificate",
                is_in_vain,
                'no client shows one without tls.certificate, and tls.client_certificate = "optional" or "required"',
            )
        )
    for index, rule in enumerate(settings.retention):
        here = f"{RETENTION}.{index}"
        names = [each["name"] for each in settings.retention[:index]]
        rows += [
            (f"{here}.name", rule["name"] in names, f"there are two with the name {rule['name']}"),
            (
                here,
                not {"after", "free"} & rule.keys(),
                "it needs after or free, or it would remove everything",
            ),
            (
                f"{here}.keep",
                "free" in rule and bool(rule.get("keep")),
                "the trash is on the same volume; take away keep or free",
            ),
        ]
    titles: dict[str, str] = {}
    for place in values["retrieval.destinations"]:
        title = PeerAddress.parse(place).ae_title
        rows.append(("retrieval.destinations", title in titles, f"there are two with the AE title {title}"))
        titles[title] = "retrieval.destinations"
    for name, remote in settings.remotes.items():
        title = remote.get("ae_title", name)
        here = f"{REMOTES}.{name}"
        other = titles.setdefault(title, here)
        rows.append((here, other != here, f"{other} has the AE title {title}, too"))
    return rows


def _check_database(url: str) -> None:
    from .database import Database, Keeping

    Database(url, Keeping.DERIVED)


def _check_keys(keys: tuple[str, ...]) -> None:
    from .catalogue.kept import configured

    configured(keys)


# What takes other libraries to check; each raises ValueError.
_CHECKS: dict[str, Callable[[Any], None]] = {
    "storage.database": _check_database,
    "queries.keep_keys": _check_keys,
}

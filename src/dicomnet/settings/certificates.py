"""The certificate of our own that settings name, and what is shown with it to those whom we call.

A node has it for its port and for where it moves objects to, a tool for whom it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .mistakes import Mistakes
from .table import REMOTES
from .values import Remote, Settings

if TYPE_CHECKING:
    import ssl


def passphrase_of(settings: Settings) -> str | None:
    """The passphrase of our key, None for none; raises Mistakes if its file cannot be used."""
    given: str | None = settings["tls.passphrase"]
    file: Path | None = settings["tls.passphrase_file"]
    if given is not None or file is None:
        return given
    content: str = can_be_used(settings, "tls.passphrase_file", file, file.read_text)
    return content.partition("\n")[0].rstrip("\r")


def context_for(settings: Settings, remote: Remote) -> ssl.SSLContext:
    """A client's context that trusts what the remote's settings name; raises Mistakes if it cannot be used."""
    from ..drivers.tls import client_context

    name = f"{REMOTES}.{remote.name}.ca"
    context: ssl.SSLContext = can_be_used(settings, name, remote.ca, lambda: client_context(remote.ca))
    context.check_hostname = remote["check_host"] is not False
    return context


def show_own(settings: Settings, context: ssl.SSLContext, remote: Remote | None = None) -> None:
    """Have a client's context show our certificate, if there is one; raises Mistakes if it cannot be used.

    Parameters
    ----------
    remote
        Whom it is shown to, which may have one of its own.
    """
    from ..drivers.tls import load_certificate

    name, certificate, key = "tls.certificate", settings["tls.certificate"], settings["tls.key"]
    is_its_own = remote is not None and remote["certificate"] is not None
    if remote is not None and is_its_own:
        name = f"{REMOTES}.{remote.name}.certificate"
        certificate, key = remote["certificate"], remote["key"]
    if certificate is not None:
        passphrase = None if is_its_own else passphrase_of(settings)
        can_be_used(
            settings, name, certificate, lambda: load_certificate(context, certificate, key, passphrase)
        )


def can_be_used(
    settings: Settings, name: str, path: PathLike[str] | str | None, use: Callable[[], Any]
) -> Any:
    """What comes of a file that a setting names.

    Parameters
    ----------
    name
        The setting, or the key of a remote.
    path
        The file.
    use
        Reads it.

    Raises
    ------
    Mistakes
        If it cannot be used.
    """
    from ..drivers.tls import why_unusable

    try:
        return use()
    except (OSError, ValueError) as error:
        raise Mistakes([settings.said(name, f"{path}: {why_unusable(error)}")]) from None

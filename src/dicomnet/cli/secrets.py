"""Tokens and passwords for DICOMweb: from the environment, a file or a command, and never from the command line."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from .arguments import Parser, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from ..dicomweb.credentials import Credentials

# They do not begin as the variables of settings do, whose names are checked.
TOKEN, USER, PASSWORD = "DICOMWEB_TOKEN", "DICOMWEB_USER", "DICOMWEB_PASSWORD"
# How long a command may take to give a secret, in seconds.
_PATIENCE = 60.0


def add_credential_options(parser: Parser) -> None:
    """Who asks a DICOMweb service."""
    group = parser.add_argument_group("DICOMweb")
    group.add_argument(
        "--user", metavar="NAME", help=f"the user whose password is given by one of these options ({USER})"
    )
    for secret, variable in (("password", PASSWORD), ("token", TOKEN)):
        group.add_argument(
            f"--{secret}-file",
            metavar="FILE",
            help=f"a file whose first line is the {secret} ({variable} has it itself)",
        )
        group.add_argument(
            f"--{secret}-command",
            metavar="COMMAND",
            help=f"a command, run without a shell, that writes the {secret}; it is run again when that has expired",
        )
    group.add_argument(
        "--auth-without-tls",
        action="store_true",
        help="send a password or a token by http to another machine, though others can read it",
    )


def refuse_credentials(options: Namespace) -> None:
    """Raise UsageError where there are credentials for a peer that is called by an association."""
    names = ("user", "password_file", "password_command", "token_file", "token_command")
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name.replace('_', '-')} is for DICOMweb; an association has neither")


def credentials_of(options: Namespace) -> Credentials | None:
    """What the options and the environment say of who asks; None where they say nothing.

    Raises
    ------
    UsageError
        If they contradict each other.
    """
    from ..dicomweb.credentials import Basic, Bearer

    token, password = _secret(options, "token"), _secret(options, "password")
    is_given = token is not None or password is not None or options.user is not None
    if not is_given:
        token, password = os.environ.get(TOKEN), os.environ.get(PASSWORD)
    user = options.user or os.environ.get(USER)
    if token is not None and (password is not None or options.user is not None):
        raise UsageError("give a token, or a user with a password, and not both")
    if password is None and options.user is not None:
        password = os.environ.get(PASSWORD)
    if token is not None:
        return Bearer(token)
    if password is None and options.user is None:
        return None
    if user is None or password is None:
        raise UsageError("a user and a password belong together; see --user and --password-file")
    try:
        return Basic(user, password)
    except ValueError as error:
        raise UsageError(f"--user: {error}") from error


def _secret(options: Namespace, name: str) -> str | Callable[[], str] | None:
    file, command = getattr(options, f"{name}_file"), getattr(options, f"{name}_command")
    if file is not None and command is not None:
        raise UsageError(f"give --{name}-file or --{name}-command, and not both")
    if command is not None:
        return partial(_output_of, f"--{name}-command", command)
    if file is None:
        return None
    from pathlib import Path

    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"--{name}-file: {file}: {words}") from error
    return text.partition("\n")[0].rstrip("\r")


def _output_of(option: str, command: str) -> str:
    """The first line that a command writes; what it says of an error goes to ours."""
    import shlex
    import subprocess

    try:
        done = subprocess.run(
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_PATIENCE,
            check=True,
        )
        return done.stdout.decode("utf-8").partition("\n")[0].rstrip("\r")
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{option}: the command did not end within {_PATIENCE:g} s") from error
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{option}: the command failed with exit status {error.returncode}") from error
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{option}: the command cannot be run: {words}") from error

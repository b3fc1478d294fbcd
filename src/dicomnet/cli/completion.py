"""`dicomnet completion`: what a shell offers when Tab is pressed, found in the parsers of the commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import DicomnetError
from .arguments import OK, Parser, UsageError, peer_or_name

if TYPE_CHECKING:
    from argparse import Namespace

# What a script says for the shell's own names of files and folders.
FILES, FOLDERS = ":files", ":folders"
# By how the value of an option or argument is called in the help.
_PATHS = {"FILE": FILES, "PATH": FILES, "QUERY": FILES, "DIR": FOLDERS}
_WITH_KEYWORDS = ("KEYWORD", "QUERY", "CONDITION")
_ANY_NUMBER = ("*", "+", argparse.REMAINDER)
# The word for `dicomnet completion` with which the scripts ask.
_ASK = "words"

_BASH = """\
# dicomnet: completion by bash. To have it: eval "$(dicomnet completion bash)"
_dicomnet() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files) compopt -o default -o bashdefault ;;
            :folders) compopt -o dirnames ;;
            *) COMPREPLY+=("${line%%$'\\t'*}") ;;
        esac
    done < <(dicomnet completion words bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _dicomnet dicomnet
"""
_ZSH = """\
#compdef dicomnet
# dicomnet: completion by zsh. To have it, behind compinit: eval "$(dicomnet completion zsh)"
_dicomnet() {
    local line
    local -a rows
    for line in "${(@f)$(dicomnet completion words zsh "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            '') ;;
            :files) _files ;;
            :folders) _files -/ ;;
            *) rows+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}") ;;
        esac
    done
    (( $#rows )) && _describe dicomnet rows
}
if [[ $funcstack[1] = _dicomnet ]]; then
    _dicomnet "$@"
else
    compdef _dicomnet dicomnet
fi
"""
_FISH = """\
# dicomnet: completion by fish. To have it: dicomnet completion fish | source
function __dicomnet_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (dicomnet completion words fish $words[2..] "$current" 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path "$current"
            case ':folders'
                __fish_complete_directories "$current"
            case '*'
                echo $line
        end
    end
end
complete -c dicomnet -f -a '(__dicomnet_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def configure(parser: Parser) -> None:
    """Tell the parser about this command."""
    parser.explain(
        "Print the script with which a shell completes commands, options, remotes, DICOM keywords and files. It asks\n"
        "this command each time that Tab is pressed, so it need not be renewed.",
        'dicomnet completion bash  # in ~/.bashrc: eval "$(dicomnet completion bash)"\n'
        'dicomnet completion zsh   # in ~/.zshrc, behind compinit: eval "$(dicomnet completion zsh)"\n'
        "dicomnet completion fish > ~/.config/fish/completions/dicomnet.fish",
    )
    parser.add_argument("shell", choices=(*SCRIPTS, _ASK), metavar="SHELL", help="bash, zsh or fish")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(options: Namespace) -> int:
    """Perform the command; returns the exit status."""
    if options.shell != _ASK:
        if options.words:
            raise UsageError(f"{options.words[0]!r} is one argument too many")
        print(SCRIPTS[options.shell], end="")
        return OK
    shell, *words = options.words or [""]
    if shell == "bash":
        words = _joined(words)
    for word, about in candidates(words or [""]):
        if shell == "bash":
            # It completes what is behind the sign only.
            word = word.rpartition("=")[2]
        print(word if word in (FILES, FOLDERS) else f"{word}\t{about}")
    return OK


def _joined(words: Sequence[str]) -> list[str]:
    """The words as they are typed, of which bash makes three where there is a ``=`` or ``:``."""
    joined: list[str] = []
    is_open = False
    for word in words:
        if joined and (is_open or word in ("=", ":")):
            joined[-1] += word
        else:
            joined.append(word)
        is_open = word in ("=", ":")
    return joined


def candidates(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the last word may become, each with what it is; `FILES` or `FOLDERS` where it is the name of one.

    Parameters
    ----------
    words
        The command line without the program's name; the last word is the one that is typed, and may be empty.
    """
    from .main import COMMANDS, parser_of

    *before, current = words
    if not before:
        found = [
            *COMMANDS.items(),
            ("--help", "describe the commands"),
            ("--version", "say which version it is"),
        ]
        yield from (each for each in found if each[0].startswith(current))
        return
    command, *before = before
    if command not in COMMANDS:
        return
    parser = parser_of(command)
    line = _Line(parser, before)
    option, sign, value = current.partition("=")
    if current.startswith("--") and sign:
        action = line.options.get(option)
        if action is not None:
            yield from ((f"{option}={each}", about) for each, about in line.values(action, value))
    elif line.pending is not None:
        yield from line.values(line.pending, current)
    elif current.startswith("-"):
        for action in parser._actions:
            if action.help != argparse.SUPPRESS:
                about = (action.help or "") % {**vars(action), "prog": parser.prog}
                yield from ((each, about) for each in action.option_strings if each.startswith(current))
    else:
        for action in line.next_values():
            yield from line.values(action, current)


class _Line:
    """A command line as far as it is typed, as a parser understands it.

    Parameters
    ----------
    parser
        That of the command.
    words
        The words behind the command.

    Attributes
    ----------
    pending
        The option that must have a value next; None where none must.
    """

    def __init__(self, parser: Parser, words: Sequence[str]) -> None:
        self.options = parser._option_string_actions
        self._command = parser.prog.partition(" ")[2]
        self.pending: argparse.Action | None = None
        # An option that may have more values.
        self._open: argparse.Action | None = None
        self._config = ""
        positionals = [each for each in parser._actions if not each.option_strings]
        for word in words:
            if self.pending is not None:
                self._config = word if self.pending.dest == "config" else self._config
                self._open = self.pending if self.pending.nargs in _ANY_NUMBER else None
                self.pending = None
            elif word in self.options:
                action = self.options[word]
                is_open = action.nargs in ("*", "?", argparse.REMAINDER)
                self._open = action if is_open else None
                self.pending = action if action.nargs != 0 and not is_open else None
            elif word.startswith("-") and word != "-":
                self._open = None
                if word.startswith("--config="):
                    self._config = word.partition("=")[2]
            elif self._open is None and positionals and positionals[0].nargs not in _ANY_NUMBER:
                positionals.pop(0)
        self._positional = positionals[0] if positionals else None

    def next_values(self) -> Iterator[argparse.Action]:
        """What a word that is no option may be a value of."""
        yield from (each for each in (self._open, self._positional) if each is not None)

    def values(self, action: argparse.Action, current: str) -> Iterator[tuple[str, str]]:
        """What a value of an option or argument may become, each with what it is."""
        name = action.metavar if isinstance(action.metavar, str) else ""
        if action.choices is not None:
            found = [(str(each), "") for each in action.choices if each != _ASK]
        elif action.type is peer_or_name or (self._command, name) == ("remotes", "NAME"):
            found = list(self._remotes())
        elif name.startswith(_WITH_KEYWORDS):
            found = list(_keywords(current))
        else:
            found = []
        yield from (each for each in found if each[0].startswith(current))
        if name in _PATHS:
            yield _PATHS[name], ""

    def _remotes(self) -> Iterator[tuple[str, str]]:
        from ..settings.users import Configuration

        try:
            settings = Configuration(self._config or None).settings
            names = () if settings is None else settings.remotes
            for each in names:
                assert settings is not None
                yield each, str(settings.remote(each).peer)
        except (DicomnetError, OSError):
            # Who runs the command is told what is wrong.
            return


def _keywords(current: str) -> Iterator[tuple[str, str]]:
    """The DICOM keywords that what stands behind the last comma or point may become."""
    if not current or "=" in current:
        # They are thousands.
        return
    from pydicom.datadict import DicomDictionary  # type: ignore[attr-defined]

    at = max(current.rfind(","), current.rfind(".")) + 1
    for _, _, name, _, keyword in DicomDictionary.values():
        if keyword and keyword.startswith(current[at:]):
            yield current[:at] + keyword, name

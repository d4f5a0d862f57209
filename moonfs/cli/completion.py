"""`moonfs completion`: what makes the Tab key work in bash, zsh and fish.

click finds out what can come next; the scripts that ask it are our own, for click's break at names with spaces and at
`--flag=VALUE`. All three send the command line up to the cursor, and get lines of kind, value and help, with tabs
between. What a shell replaces differs: bash a part of the word (readline's breaks are ` = : `), zsh what comes after
`--flag=` and after the last slash of a path, fish the whole word.

**Threading:** none; one command runs in the main thread.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Final

import click
from click.shell_completion import CompletionItem, ShellComplete, add_completion_class, split_arg_string

from moonfs.cli.offers import NAME
from moonfs.cli.words import say
from moonfs.errors import UsageError

_NAME: Final = "moonfs"
#: The variable by which a script asks.
VARIABLE: Final = "_MOONFS_COMPLETE"
#: Put at the cursor, so that the word that was begun is there even when it is empty; no command line holds it.
_CURSOR: Final = "\x01"

_BASH: Final = """\
# bash completion for moonfs (bash 4.4 or newer)
_moonfs() {
    local kind value
    COMPREPLY=()
    while IFS=$'\\t' read -r kind value _; do
        case $kind in
        dir) compopt -o dirnames ;;
        file) compopt -o default ;;
        *)
            [[ $kind != name ]] || compopt -o filenames
            [[ $value != *= ]] || compopt -o nospace
            COMPREPLY+=("$value")
            ;;
        esac
    done < <(COMP_LINE=${COMP_LINE:0:COMP_POINT} COMP_WORD=$2 %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F _moonfs %(prog_name)s
"""

_ZSH: Final = """\
#compdef %(prog_name)s
# zsh completion for moonfs
_moonfs() {
    local line
    local -a parts names open closed
    local -i found=1
    for line in "${(@f)$(COMP_LINE="${(j: :)words[1,CURRENT]}" %(complete_var)s=zsh_complete ${~words[1]} 2>/dev/null)}"
    do
        parts=("${(@ps:\\t:)line}")
        case $parts[1] in
        dir) compset -P '--*='; _path_files -/ && found=0 ;;
        file) compset -P '--*='; _path_files && found=0 ;;
        name) names+=("$parts[2]") ;;
        plain)
            line=${parts[2]//:/\\\\:}${parts[3]:+:$parts[3]}
            if [[ $parts[2] == *= ]]; then open+=("$line"); else closed+=("$line"); fi
            ;;
        esac
    done
    compset -P '--*='
    if (( $#names )); then
        compset -P '*/'
        compadd -- "${names[@]}" && found=0
    fi
    (( $#open )) && _describe -V %(prog_name)s open -S '' && found=0
    (( $#closed )) && _describe -V %(prog_name)s closed && found=0
    return found
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _moonfs "$@"
else
    compdef _moonfs %(prog_name)s
fi
"""

_FISH: Final = """\
# fish completion for moonfs
function __moonfs_complete
    set -lx COMP_LINE (commandline -cp | string collect --allow-empty)
    set -lx %(complete_var)s fish_complete
    set -l flag (commandline -ct | string match -r -- '^--[^=]*=' | string collect --allow-empty)
    set -l path (commandline -ct | string replace -r -- '^--[^=]*=' '')
    for line in (command %(prog_name)s 2>/dev/null)
        set -l parts (string split --max 2 \\t -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories "$path" | string replace -r -- '^' "$flag"
            case file
                complete -C "nonexistent-command $path" | string replace -r -- '^' "$flag"
            case '*'
                printf '%%s\\t%%s\\n' $parts[2] $parts[3]
        end
    end
end
complete --command %(prog_name)s --no-files --keep-order --arguments '(__moonfs_complete)'
"""


class _Complete(ShellComplete):
    """What the shells have in common: how they ask, and what they are answered."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that was begun, without the program's name, and that one."""
        words = split_arg_string(os.environ["COMP_LINE"] + _CURSOR)
        return words[1:-1], words[-1].rstrip(_CURSOR)

    def complete(self) -> str:
        """Return a line for each offer."""
        arguments, begun = self.get_completion_args()
        # click offers what may come after `--flag=`, not the whole word.
        flag = begun[: begun.find("=") + 1] if begun.startswith("--") else ""
        lines = []
        for item in self.get_completions(arguments, begun):
            word = f"{flag}{item.value}"
            lines.append("\t".join((item.type, word[self.kept(begun, item) :], " ".join((item.help or "").split()))))
        return "\n".join(lines)

    def format_completion(self, item: CompletionItem) -> str:
        """Return one offer by itself; `complete` makes the lines, since an offer depends on the word."""
        return str(item.value)

    def kept(self, begun: str, item: CompletionItem) -> int:
        """Return how much of the word that was `begun` the shell keeps in front of what it is offered: nothing."""
        return 0


class Bash(_Complete):
    """bash replaces what readline takes for a word; the script passes it on."""

    name = "bash"
    source_template = _BASH

    def kept(self, begun: str, item: CompletionItem) -> int:
        """All that is not in readline's word."""
        word = "".join(split_arg_string(os.environ["COMP_WORD"]))
        return len(begun) - len(word) if begun.endswith(word) else 0


class Zsh(_Complete):
    """zsh replaces what `compset -P` leaves."""

    name = "zsh"
    source_template = _ZSH

    def kept(self, begun: str, item: CompletionItem) -> int:
        """`--flag=`, and in paths what comes before the last slash."""
        flag = begun.find("=") + 1 if begun.startswith("--") else 0
        return max(flag, begun.rfind("/") + 1) if item.type == NAME else flag


class Fish(_Complete):
    """fish replaces the word."""

    name = "fish"
    source_template = _FISH


_SHELLS: Final = {each.name: each for each in (Bash, Zsh, Fish)}
for _shell in _SHELLS.values():
    add_completion_class(_shell)


#: Where packages put the scripts, under their prefix; scripts/hatch_build.py does.
SHARED: Final = {
    "bash": f"share/bash-completion/completions/{_NAME}",
    "zsh": f"share/zsh/site-functions/_{_NAME}",
    "fish": f"share/fish/vendor_completions.d/{_NAME}.fish",
}


def script(cli: click.Command, shell: str) -> str:
    """Return the script that makes `shell` (bash, zsh or fish) complete the commands of `cli`."""
    return _SHELLS[shell](cli, {}, _NAME, VARIABLE).source()


def place(shell: str) -> Path:
    """Return where this user's `shell` looks for the script.

    bash: the README of bash-completion, "Where should I put it?"; fish: completions in its manual; zsh looks nowhere in
    the home by itself (`fpath`, zshparam(1)), so that the place is the one that its packages have in `/usr/local`.
    """
    data = _directory("XDG_DATA_HOME", "~/.local/share")
    return {
        "bash": data / "bash-completion" / "completions" / _NAME,
        "zsh": data / "zsh" / "site-functions" / f"_{_NAME}",
        "fish": _directory("XDG_CONFIG_HOME", "~/.config") / "fish" / "completions" / f"{_NAME}.fish",
    }[shell]


def _directory(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value if os.path.isabs(value) else os.path.expanduser(default))  # XDG: a relative one counts as unset


@click.command(short_help="Make the Tab key complete moonfs's words.")
@click.argument("shell", type=click.Choice(list(_SHELLS)))
@click.option("--install", is_flag=True, help="Write it to where the shell looks for it, and say where that is.")
@click.pass_context
def completion(context: click.Context, shell: str, install: bool) -> None:
    """Print the script that makes the Tab key complete commands, options, directories, drives and names on them.

    With --install it is written to where the shell finds it by itself:

    \b
      bash  ~/.local/share/bash-completion/completions/moonfs, with the package bash-completion
      zsh   ~/.local/share/zsh/site-functions/_moonfs, which has to be in fpath
      fish  ~/.config/fish/completions/moonfs.fish

    For one session: eval "$(moonfs completion bash)", or moonfs completion fish | source
    """
    text = script(context.find_root().command, shell)
    if not install:
        click.echo(text, nl=False)
        return
    path = place(shell)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"Cannot write {path}: {error.strerror}; print it instead: moonfs completion {shell}"
        ) from error
    say(f"{path} is written; {_next_step(shell, path)}")


def _next_step(shell: str, path: Path) -> str:
    if shell == "zsh":
        folder = shlex.quote(str(path.parent))
        return f"put this line into .zshrc before compinit, unless it is there: fpath=({folder} $fpath)"
    if shell == "bash":
        return "new shells complete moonfs, if the package bash-completion is installed."
    return "new shells complete moonfs."

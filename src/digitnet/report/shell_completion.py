"""Completion scripts for bash, zsh and fish, and their installation."""

import os
from pathlib import Path

# Each calls `digitnet completion query LINE` with the line up to the cursor; it prints candidates, as whole words.
SCRIPTS = {
    "bash": r"""_digitnet() {
    local line=${COMP_LINE:0:COMP_POINT} word
    COMPREPLY=()
    while IFS= read -r word; do # not $(…) in an array, which would expand * and ?
        [[ -n $word ]] && COMPREPLY+=("$word")
    done < <(COMP_WORDBREAKS=$COMP_WORDBREAKS "$1" completion query-bash "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]]; then compopt -o nospace; fi
}
complete -F _digitnet digitnet
""",
    "zsh": r"""autoload -Uz compinit
(( $+functions[compdef] )) || compinit
_digitnet() {
    local -a found
    found=("${(@f)$(${words[1]} completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    compadd -- ${found:#*[=.\/]}
    compadd -S '' -- ${(M)found:#*[=.\/]}
}
compdef _digitnet digitnet
""",
    "fish": r"""function __digitnet_complete
    digitnet completion query (commandline --current-process --cut-at-cursor | string collect) 2>/dev/null
end
complete --command digitnet --no-files --arguments '(__digitnet_complete)'
""",
}


def install_completion(shell: str) -> str:
    """Write the script and, unless it is there already, a line in the shell's startup file that reads it.

    Returns a message about what to do next. Raises OSError if a file cannot be written.
    """
    home = Path.home()
    if shell == "fish":  # it reads this folder by itself
        script = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "fish" / "completions" / "digitnet.fish"
    else:
        script = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "digitnet" / f"completion.{shell}"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(SCRIPTS[shell])
    if shell == "fish":
        return f"wrote {script}; new shells complete digitnet"
    startup = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"
    line = f'[ -r "{script}" ] && . "{script}"  # digitnet completion\n'
    content = startup.read_text() if startup.exists() else ""
    if line not in content:
        with startup.open("a") as file:
            file.write(("\n" if content and not content.endswith("\n") else "") + line)
    return f"wrote {script}, which {startup} reads; new shells complete digitnet, this one after: . {script}"

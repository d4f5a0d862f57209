# shellcheck shell=bash
# What every script needs before it starts, from nothing: a Python, the system's FUSE, and `.venv` with moonfs
# in it. To be sourced. When all is there it takes a moment and changes nothing; it never asks a question.
#
#   set_up local drive   what quickstart needs: moonfs with its local server, and FUSE
#   set_up dev drive     the same, with the tools for tests and checks, and all the programs that the tests run
#   set_up dev           without FUSE: format, lint and types need none
#   set_up bench drive   what the benchmark needs, with what it compares moonfs to

project=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$project/.venv

# What is loaded or run, by the name it is looked for, and its packages: the first one apt knows is taken, since
# Debian 13 and Ubuntu 24.04 have renamed some of them.
libraries=(
    "libfuse.so.2 libfuse2t64 libfuse2" # fusepy
)
programs=(
    "fusermount fuse3" # libfuse 2 mounts and unmounts through it for everybody but root
)
# The tests alone run these; a test that finds one missing fails where nothing may be skipped.
test_programs=(
    "Xvfb xvfb" # a display for the file managers, and what they are driven with
    "curl curl"
    "dbus-daemon dbus-daemon dbus"
    "dolphin dolphin"                                     # with all of KDE that it needs: 76 MB to fetch, 300 MB of disk
    "exiftool libimage-exiftool-perl"                     # it and qpdf: how they save a file
    "file file"
    "fish fish"                                           # fish and zsh: their Tab keys
    "gdbus libglib2.0-bin"
    # GNOME Files only recommends the first; the other is its successor since GNOME 49.
    "gdk-pixbuf-thumbnailer|glycin-thumbnailer libgdk-pixbuf2.0-bin"
    "gio libglib2.0-bin"
    "git git"
    "less less"
    "man man-db"
    "mandoc mandoc"                                       # reads the man page as strictly as BSD does
    "mc mc"
    "nano nano"
    "nautilus nautilus"                                   # GNOME Files: 28 MB to fetch, 100 MB of disk
    "openbox openbox"
    "openssl openssl"
    "patch patch"
    "pcmanfm pcmanfm"
    "perl perl-base"
    "python3 python3"
    "qpdf qpdf"
    "rsync rsync"
    "setfattr attr"
    "setpriv util-linux"
    "soffice libreoffice-writer-nogui libreoffice-writer" # the largest: about 90 MB to fetch
    "strace strace"
    "systemctl systemd"
    "thunar thunar"
    "tmux tmux"                                           # the terminal of nano, mc and vim
    "unshare util-linux"
    "unzip unzip"
    "update-mime-database shared-mime-info"
    "vim vim"
    "xclip xclip"
    "xdotool xdotool"
    "zip zip"
    "zsh zsh"
)

# An inherited Python environment would reach into the venv, and `user = true` in a pip.conf makes pip refuse it.
unset PYTHONHOME PYTHONPATH
export PIP_USER=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1

# With an empty HOME, `~/.cache` is `/.cache` to Python; the account's own home is what is meant.
if [ -z "${HOME:-}" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6) || true
    export HOME=${HOME:-/}
fi

# shellcheck disable=SC2034 # the scripts use them
bold='' dim='' red='' green='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
    # shellcheck disable=SC2034
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' plain=$'\e[0m'
fi

say() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }
fail() { printf '%s\n' "$*" >&2 && exit 1; }
misused() { printf '%s\n' "$*" >&2 && exit 2; }

# Runs a command and shows on a terminal, once it takes longer than a second, for how long it has, with what `line`
# prints: `ticking line command …`. The ticker is the one in the background: Ctrl-C reaches the command.
ticking() {
    local line=$1 status=0 ticker='' start=$SECONDS
    shift
    if [ -t 2 ]; then
        (
            while sleep 1; do
                printf '\r\e[K%s    %s s  %s%s' "$dim" $((SECONDS - start)) "$($line)" "$plain" >&2
            done
        ) &
        ticker=$!
    fi
    "$@" || status=$?
    if [ -n "$ticker" ]; then
        kill "$ticker" 2>/dev/null || true
        wait "$ticker" 2>/dev/null || true
        printf '\r\e[K' >&2
    fi
    return $status
}

# Prints the last line of the log of what runs.
last_of_log() { tail -c 400 -- "$log" | tr '\r' '\n' | grep -a . | tail -n 1 | tr -cd '[:print:]' | cut -c 1-60; }

# Runs a command whose output interests nobody unless it fails: `quietly "What failed" command …`.
quietly() {
    local sentence=$1 log
    shift
    log=$(mktemp)
    # shellcheck disable=SC2016 # `bash -c` expands it
    if ticking last_of_log bash -c 'log=$1; shift; exec "$@" >"$log" 2>&1 </dev/null' - "$log" "$@"; then
        rm -f -- "$log"
    else
        tail -n 20 -- "$log" >&2
        rm -f -- "$log"
        fail "$sentence: the last lines of its output are above."
    fi
}

can_run() { command -v -- "$1" >/dev/null 2>&1; }

# ---- Python -------------------------------------------------------------------------------------------------

# Prints the first Python that is new enough, by the path of its real binary (a pyenv shim may point elsewhere
# tomorrow). `find_python ensurepip` wants one that can also fill a venv.
find_python() {
    local name
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        "$name" - "$@" 2>/dev/null <<'PYTHON' && return
import importlib, sys
if sys.version_info < (3, 11):
    sys.exit(1)
for module in sys.argv[1:]:
    importlib.import_module(module)
print(sys.executable)
PYTHON
    done
    return 1
}

# What a venv is bound to: it breaks when the checkout or its Python has moved.
venv_binding() {
    "$venv/bin/python" -c 'import sys; print(sys.prefix, sys.base_prefix, sys.version.split()[0], sep="\n")'
}

# A venv that somebody has made in another way is kept, as long as it works.
venv_works() {
    [ -x "$venv/bin/python" ] || return 1
    local binding
    binding=$(venv_binding 2>/dev/null) || return 1
    [ "${binding%%$'\n'*}" = "$venv" ] || return 1
    [ ! -e "$venv/made-for" ] || [ "$binding" = "$(<"$venv/made-for")" ] || return 1
    "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Changes whenever an installation would come out differently.
fingerprint() {
    { cat -- "$project/pyproject.toml" && grep __version__ "$project/moonfs/__init__.py" && venv_binding; } | sha256sum
}

installed() {
    [ -x "$venv/bin/moonfs" ] && [ -e "$venv/installed-$1" ] && [ "$(fingerprint)" = "$(<"$venv/installed-$1")" ]
}

make_venv() {
    say "Making a virtual environment in .venv …"
    quietly "The virtual environment could not be made" "$python" -m venv --clear -- "$venv"
    venv_binding >"$venv/made-for"
}

install_moonfs() {
    local pip=("$venv/bin/python" -m pip)
    local failed="moonfs could not be installed into .venv (is the network there?)"
    say "Installing moonfs and what it needs into .venv (a minute or two the first time) …"
    rm -f -- "$venv/installed-local" "$venv/installed-$1"
    if [ "$1" != local ]; then
        # Dependency groups arrived in pip 25.1, after Debian 12.
        quietly "$failed" "${pip[@]}" install 'pip>=25.1'
        quietly "$failed" "${pip[@]}" install --editable '.[local]' --group "$1"
        fingerprint >"$venv/installed-$1"
    else
        quietly "$failed" "${pip[@]}" install --editable '.[local]'
    fi
    fingerprint >"$venv/installed-local"
}

# ---- the system's packages ----------------------------------------------------------------------------------

# Prints the entries of `libraries` that the loader does not find. It is asked rather than dpkg: it is quick, it
# knows libraries that came by another way, and only its answer counts.
missing_libraries() {
    local entry
    for entry in "${libraries[@]}"; do
        if [ -n "$python" ]; then
            "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "${entry%% *}" 2>/dev/null
        else
            [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null) = *"${entry%% *} "* ]]
        fi || printf '%s\n' "$entry"
    done
}

# Prints the entries of `programs`, and for `missing_programs dev` of `test_programs` too, that are not on the PATH:
# nor, of `one|other`, either.
missing_programs() {
    local entry name needed=("${programs[@]}")
    [ "$1" != dev ] || needed+=("${test_programs[@]}")
    for entry in "${needed[@]}"; do
        name=${entry%% *}
        can_run "${name%|*}" || can_run "${name#*|}" || printf '%s\n' "$entry"
    done
}

apt_knows() { [[ $(LC_ALL=C apt-cache policy "$1" 2>/dev/null) = *"Candidate: "[!\(]* ]]; }

# Prints the first package that apt knows, or else the last, which has the oldest and plainest name.
pick_package() {
    local package
    for package; do
        if apt_knows "$package"; then break; fi
    done
    printf '%s\n' "$package"
}

# Whether apt has no package of an entry, though it knows the others: no list that is fetched anew changes that.
is_nowhere() {
    local package
    can_run apt-get && apt_knows fuse3 || return 1
    for package in ${1#* }; do
        if apt_knows "$package"; then return 1; fi
    done
}

# Takes from `missing` the libraries that are nowhere to be had: `no_fuse` says it, and what needs no mount works.
drop_nowhere() {
    local entry still=()
    for entry in "${missing[@]}"; do
        [[ $entry = lib*.so.* ]] && is_nowhere "$entry" || still+=("$entry")
    done
    missing=("${still[@]}")
}

# Fills `wanted` with the packages that are missing.
list_wanted() {
    local entry version
    wanted=()
    if [ -z "$python" ]; then
        version=$(pick_package python3.14 python3.13 python3.12 python3.11 python3)
        wanted+=("$version" "$version-venv")
    elif [ -z "$venv_python" ]; then
        wanted+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
    fi
    for entry in "${missing[@]}"; do
        # shellcheck disable=SC2086 # an entry is a list of words
        wanted+=("$(pick_package ${entry#* })")
    done
}

# Installs what is missing, when it may without asking; otherwise says the one command that does.
install_packages() {
    local as_root=() wanted=()
    if ! can_run apt-get; then
        list_wanted
        fail "Please install with your package manager what Debian calls: ${wanted[*]}"
    fi
    if [ "$(id -u)" != 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            list_wanted
            fail "Something is missing that only root may install. Please run:" \
                "sudo apt-get install --no-install-recommends ${wanted[*]}"
        fi
        as_root=(sudo -n)
    fi
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    list_wanted
    local package
    for package in "${wanted[@]}"; do
        if ! apt_knows "$package"; then
            say "Fetching the list of packages …"
            quietly "apt-get update failed" "${apt[@]}" update
            drop_nowhere
            list_wanted
            break
        fi
    done
    [ "${#wanted[@]}" -gt 0 ] || return 0
    say "Installing ${wanted[*]} …"
    quietly "apt-get install ${wanted[*]} failed" "${apt[@]}" install -y --no-install-recommends "${wanted[@]}"
}

# Fills `python` (for the loader's sake), `venv_python` (one that can fill a venv) and `missing`; called as `set_up`.
look_around() {
    if venv_works; then
        python=$venv/bin/python venv_python=$python
    else
        venv_python=$(find_python ensurepip venv) || venv_python=
        python=${venv_python:-$(find_python)} || python=
    fi
    missing=()
    if [ "${2:-}" = drive ]; then
        mapfile -t missing < <(missing_libraries && missing_programs "$1")
        drop_nowhere
    fi
}

# ---- all of it ----------------------------------------------------------------------------------------------

set_up() {
    [ -w "$project" ] || [ -d "$venv" ] || fail "$project is not writable for you, and .venv has to go there."
    # One at a time: two runs must not fill the same venv. The lock ends with the subshell, and no daemon that
    # is started later inherits it.
    (
        flock --nonblock 9 || { say "Waiting for another set-up to end …" && flock 9; }
        cd -- "$project" || exit
        look_around "$@"
        if [ -z "$venv_python" ] || [ "${#missing[@]}" -gt 0 ]; then
            install_packages 9>&-
            look_around "$@"
            [ -n "$venv_python" ] || fail "No Python 3.11 or newer with the venv module was found."
            [ "${#missing[@]}" = 0 ] || fail "Still missing after the installation: ${missing[*]%% *}"
        fi
        python=$venv_python
        venv_works || make_venv 9>&-
        installed "$1" || install_moonfs "$1" 9>&-
    ) 9<"$project/scripts"
}

# Says that libfuse 2 is missing and apt has none, or nothing.
no_libfuse() {
    local python=$venv/bin/python entry system
    # A here-string rather than <( ), which needs /dev/fd.
    system=$(. /etc/os-release 2>/dev/null && printf %s "${PRETTY_NAME:-}") || true
    system=${system:-this system}
    [ -x "$python" ] || python=
    while IFS= read -r entry; do
        if [ -n "$entry" ] && is_nowhere "$entry"; then
            # As moonfs words it; it cannot be asked before it is installed.
            echo "libfuse 2 is missing, and $system has no package of it; moonfs mounts on Debian 13 or Ubuntu 24.04," \
                "whose libfuse2t64 may be installed by hand here."
        fi
    done <<<"$(missing_libraries)"
}

# Says in one sentence why this machine cannot mount, or nothing when it can; what cannot be mended comes first.
no_fuse() {
    local reason
    reason=$(no_libfuse)
    if [ -n "$reason" ]; then
        echo "$reason"
        return
    fi
    if [ ! -e /dev/fuse ] && [ "$(id -u)" = 0 ]; then
        modprobe fuse 2>/dev/null || true
    fi
    if [ ! -e /dev/fuse ]; then
        echo "/dev/fuse is missing: run 'sudo modprobe fuse', or start the container with" \
            "'--device /dev/fuse --cap-add SYS_ADMIN'."
    elif ! { : <>/dev/fuse; } 2>/dev/null; then
        echo "/dev/fuse cannot be opened: run 'sudo chmod 666 /dev/fuse', or start the container with" \
            "'--device /dev/fuse --cap-add SYS_ADMIN'."
    fi
}

# Makes a home for tests below `work`, so that they never meet the account, the cache or the documents of whoever runs
# them, nor the directory of all runs of pytest, which tidies it, and fails at a drive that another run has left there.
# It goes when the script ends.
private_home() {
    work=$(mktemp -d /tmp/moonfs-XXXXXX)
    trap 'rm -rf --one-file-system -- "$work"' EXIT
    mkdir -m 700 -- "$work/home" "$work/run" "$work/tests"
}

# Runs tests in that home. What pip has downloaded once is no secret, and 150 MB. What Python compiles is kept, or each
# process would compile all the tests for itself, which takes a processor seven seconds.
in_private() {
    local pip_cache
    pip_cache=$("$venv/bin/python" -m pip cache dir)
    cd -- "$project" || exit
    env -u PYTHONDONTWRITEBYTECODE HOME="$work/home" XDG_CONFIG_HOME="$work/config" XDG_DATA_HOME="$work/data" XDG_STATE_HOME="$work/state" \
        XDG_CACHE_HOME="$work/cache" XDG_RUNTIME_DIR="$work/run" PIP_CACHE_DIR="$pip_cache" \
        PYTEST_DEBUG_TEMPROOT="$work/tests" "$@"
}

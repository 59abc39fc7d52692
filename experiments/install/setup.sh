#!/usr/bin/env -S bash -p
# Make a virtual environment from the lock that suits this machine: `make setup` calls `experiments/install/setup.sh VENV`.
# PYTHON names the interpreter to build it from, LOCK the lock (otherwise chosen here), TORCH_CPU_INDEX an index with CPU
# builds of torch. Without VENV only the interpreter found is printed. VENV/.installed, written last, records the lock.
# What the user's shell (bash -p), Python, pip and uv are set to changes nothing but where packages are fetched from.
set -euo pipefail
cd -P "$(dirname "$0")/../.."
for name in ${!PYTHON*}; do [[ $name == PYTHON ]] || unset "$name"; done

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 2; }

find_python() { # every candidate is run: a version manager's shim may exist without its version
    local candidate candidates=(python3.11 python3.12 python3 python3.13 /usr/bin/python3)
    [[ -z ${PYTHON:-} ]] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no usable Python: ${PYTHON:-python3.11, python3.12 or python3} is missing, older than 3.11, or without venv" \
        "(on Debian and Ubuntu: apt-get install python3-venv); name one with PYTHON=/path/to/python3.11"
}

show_downloads() { # of what pip or uv say, the lines on large files; all of it goes to the log
    tee "$log" | sed -uEn 's|(Downloading) .*/|\1 |; s/^ *(Download(ing|ed) .*)/setup: \1/p'
}

get_with_uv() { # the arguments of pip install
    "$venv/bin/uv" pip install --no-config --python "$venv/bin/python" --index-strategy unsafe-best-match \
        "${uv_options[@]}" "$@" 2>&1 | show_downloads
}

get() { # uv is tried first, for it is several times faster, then pip
    if [[ -x $venv/bin/uv ]]; then
        get_with_uv "$@" && return
    fi
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-compile --progress-bar off \
        "${pip_options[@]}" "$@" 2>&1 | show_downloads
}

entry() { # NAME: the lines of one package in the CPU lock
    sed -n "/^$1==/,/[^\\\\]\$/p" requirements-cpu.lock
}

pip_setting() { # NAME: its values; the environment's come before the files', as in pip
    local section found
    for section in :env: install global; do
        found=$(sed -En "s/^$section\.$1=['\"](.*)['\"]\$/\1/p" <<< "$pip_settings")
        [[ -z $found ]] || { sed 's/\\n/ /g' <<< "$found"; return; }
    done
}

# Of pip's settings those count that say where packages are and how to reach them, for uv, too, which does not read them.
# All others (user, target, prefix, constraint, ...) are for other installations.
translate_pip_settings() {
    local value name yes='^(1|y|yes|t|true|on)$'
    for name in ${!PIP_*}; do
        [[ $name =~ CONFIG_FILE|INDEX|FIND_LINKS|HOST|CERT|PROXY|TIMEOUT|RETRIES|NO_CACHE ]] || unset "$name"
    done
    pip_settings=$("$venv/bin/python" -m pip --verbose config list 2> /dev/null) \
        || say "pip's settings (pip config list) cannot be read; going on without them"
    for name in ${!PIP_*}; do unset "$name"; done
    export PIP_CONFIG_FILE=/dev/null
    for name in ${!UV_*}; do
        [[ $name =~ INDEX|FIND_LINKS|CACHE|HTTP|TLS|CERT|HOST|CONCURRENT|LINK_MODE|OFFLINE ]] || unset "$name"
    done
    for value in $(pip_setting index-url); do
        uv_options+=(--default-index "$value") pip_options+=(--index-url "$value")
    done
    for value in $(pip_setting extra-index-url); do
        pip_options+=(--extra-index-url "$value")
        # uv refuses a folder index that lacks a package, pip goes on to the next: leave folders to pip
        [[ $value == file:* ]] || uv_options+=(--extra-index-url "$value")
    done
    for value in $(pip_setting find-links); do
        uv_options+=(--find-links "$value") pip_options+=(--find-links "$value")
    done
    for value in $(pip_setting trusted-host); do
        uv_options+=(--allow-insecure-host "$value") pip_options+=(--trusted-host "$value")
    done
    if [[ $(pip_setting no-index) =~ $yes ]]; then
        uv_options+=(--no-index) pip_options+=(--no-index)
    fi
    [[ ! $(pip_setting no-cache-dir) =~ $yes ]] || pip_options+=(--no-cache-dir)
    network_setting cert SSL_CERT_FILE
    network_setting client-cert SSL_CLIENT_CERT
    network_setting proxy HTTPS_PROXY
    network_setting timeout UV_HTTP_TIMEOUT
    network_setting default-timeout UV_HTTP_TIMEOUT
    network_setting retries UV_HTTP_RETRIES
}

network_setting() { # NAME VARIABLE: an option of pip, and what uv reads instead
    local value
    value=$(pip_setting "$1")
    [[ -n $value ]] || return 0
    pip_options+=("--$1" "$value")
    [[ -n ${!2:-} ]] || export "$2=$value"
}

link_repository() { # the repository's packages can be imported, so that scripts run without Make
    pwd -P > "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/repository.pth"
}

compile_packages() { # once, on all cores, rather than by every script, but for what is seldom used
    local models='transformers/models/(?!__init__|(auto|encoder_decoder|llama|gemma|mistral)/)'
    local seldom="/site-packages/(.*/tests?/|$models|networkx/|pip/|setuptools/)"
    "$venv/bin/python" -m compileall -qq -j 0 -x "$seldom" "$venv/lib" || true # some modules are for another Python
}

find_cpu_build() { # whether torch's CPU build for this Python can be had; sets origin
    local ask=(--dry-run --no-deps --require-hashes --only-binary :all: -r "$scratch/torch.txt")
    entry torch > "$scratch/torch.txt"
    if PIP_RETRIES=1 get "${ask[@]}" > /dev/null; then
        origin="where pip's settings${TORCH_CPU_INDEX:+ and TORCH_CPU_INDEX} point"
    elif [[ -x $venv/bin/uv ]] && get_with_uv "${ask[@]}" --torch-backend cpu > /dev/null; then
        origin="on the index of CPU builds that uv knows"
        uv_options+=(--torch-backend cpu)
    else
        return 1
    fi
}

choose_lock() { # sets lock and why
    if [[ -n ${LOCK:-} ]]; then
        lock=$LOCK why="LOCK names it"
        [[ $lock != requirements-cpu.lock ]] || ! find_cpu_build || why+="; the CPU build of torch is $origin"
    elif [[ $(nvidia-smi -L 2> /dev/null) == GPU* ]]; then
        lock=requirements.lock
        why="$(nvidia-smi -L | grep -c '^GPU') NVIDIA GPU(s) here; torch with CUDA, about 3 GB to download"
    elif find_cpu_build; then
        lock=requirements-cpu.lock why="no NVIDIA GPU here; the CPU build of torch is $origin"
    else
        lock=requirements.lock
        why="no NVIDIA GPU here, but no CPU build of torch for this Python can be had either; this one runs on a CPU too, and"
        why+=" downloads about 3 GB (an index that has the CPU build can be named: TORCH_CPU_INDEX=URL)"
    fi
    [[ -f $lock ]] || fail "$lock: no such lock; leave LOCK out or name requirements.lock or requirements-cpu.lock"
}

python=$(find_python)
if [[ $# -eq 0 ]]; then
    echo "$python"
    exit
fi
venv=$1
fingerprint=$({ echo compiled; grep -hv '^#' requirements.lock requirements-cpu.lock; } | sha256sum | cut -d ' ' -f 1)
if grep -qs "$fingerprint" "$venv/.installed"; then
    link_repository 2> /dev/null || true
    touch "$venv/.installed" 2> /dev/null || true # the locks are newer than the environment, but the same
    exit
fi

SECONDS=0
scratch=$(mktemp -d)
log=$scratch/log
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT # also where a program ends as if nothing were the matter
uv_options=() pip_options=()
if [[ -n ${TORCH_CPU_INDEX:-} ]]; then
    uv_options+=(--extra-index-url "$TORCH_CPU_INDEX") pip_options+=(--extra-index-url "$TORCH_CPU_INDEX")
fi

# .installing marks an environment that is ours to take down when a set-up was interrupted: no other is ever emptied.
if [[ -e $venv/.installing ]]; then
    say "$venv was left half made; starting again"
    find "$venv" -mindepth 1 -maxdepth 1 ! -name .installing -exec rm -rf {} +
elif [[ -e $venv/.installed || -z $(ls -A "$venv" 2> /dev/null) ]]; then
    mkdir -p "$venv"
    touch "$venv/.installing"
elif [[ ! -x $venv/bin/python ]]; then
    fail "$venv: neither a virtual environment nor empty; name another folder with VENV=..."
fi
rm -f "$venv/.installed"
if [[ ! -x $venv/bin/python ]]; then
    say "virtual environment $venv from $python ($("$python" --version))"
    "$python" -m venv "$venv" > "$log" 2>&1 || fail "cannot make $venv: $(tail -n 1 "$log")"
fi
translate_pip_settings
entry uv > "$scratch/uv.txt"
get --require-hashes -r "$scratch/uv.txt" || say "uv cannot be had; pip, which is slower, goes on alone"
choose_lock
say "$lock: $why"
if ! get --require-hashes --only-binary :all: -r "$lock"; then
    tail -n 20 "$log" >&2
    fail "$lock cannot be installed (see above); make setup tries again"
fi
link_repository
compile_packages
printf '%s\n%s\n' "$lock" "$fingerprint" > "$venv/.installed"
rm -f "$venv/.installing"
say "done in $SECONDS s"

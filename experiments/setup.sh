#!/usr/bin/env bash
# Make a virtual environment from the lock that suits this machine: `make setup` calls `experiments/setup.sh VENV`.
# PYTHON names the interpreter to build it from, LOCK the lock (otherwise chosen here), TORCH_CPU_INDEX an index with CPU
# builds of torch. Without VENV only the interpreter found is printed. VENV/.installed, written last, records the lock.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 2; }

find_python() { # every candidate is run: a version manager's shim may exist without its version
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3 python3.13 /usr/bin/python3}; do
        if "$candidate" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "no usable Python: ${PYTHON:-python3.11, python3.12 or python3} is missing, older than 3.11, or without venv" \
        "(on Debian and Ubuntu: apt-get install python3-venv); name one with PYTHON=/path/to/python3.11"
}

get() { # the arguments of pip install; uv is tried first, for it is several times faster, then pip with its own settings
    if [[ -x $venv/bin/uv ]]; then
        "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "${uv_options[@]}" "$@" 2> "$log" && return
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "${pip_options[@]}" "$@" 2> "$log"
}

entry() { # NAME: the lines of one package in the CPU lock
    sed -n "/^$1==/,/[^\\\\]\$/p" requirements-cpu.lock
}

pip_setting() { # NAME: values of one of pip's settings; the environment's come before the files', as in pip
    "$venv/bin/python" -m pip config list 2> /dev/null | sed -n "s/^[^=]*\.$1='\(.*\)'\$/\1/p" | head -n 1
}

translate_pip_settings() { # uv does not read pip's: mirrors and local wheel folders are passed on
    local value setting=$(pip_setting index-url)
    [[ -z $setting ]] || uv_options+=(--default-index "$setting")
    for value in $(pip_setting extra-index-url); do
        # uv refuses a folder index that lacks a package, pip goes on to the next: leave folders to pip
        [[ $value == file:* ]] || uv_options+=(--extra-index-url "$value")
    done
    for value in $(pip_setting find-links); do uv_options+=(--find-links "$value"); done
    setting=$(pip_setting cert)
    [[ -n ${SSL_CERT_FILE:-} || -z $setting ]] || export SSL_CERT_FILE=$setting
}

link_repository() { # the repository's packages can be imported, so that scripts run without Make
    pwd > "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/repository.pth"
}

compile_packages() { # once, on all cores, rather than by every script, but for what is seldom used
    local models='transformers/models/(?!__init__|(auto|encoder_decoder|llama|gemma|mistral)/)'
    local seldom="/site-packages/(.*/tests?/|$models|networkx/|pip/|setuptools/)"
    "$venv/bin/python" -m compileall -qq -j 0 -x "$seldom" "$venv/lib" || true # some modules are for another Python
}

choose_lock() { # sets lock and why
    if [[ -n ${LOCK:-} ]]; then
        lock=$LOCK why="LOCK names it"
    elif [[ $(nvidia-smi -L 2> /dev/null) == GPU* ]]; then
        lock=requirements.lock why="$(nvidia-smi -L | grep -c '^GPU') NVIDIA GPU(s) here"
    elif entry torch > "$scratch/torch.txt" &&
        PIP_RETRIES=1 get --dry-run --no-deps --require-hashes -r "$scratch/torch.txt"; then
        lock=requirements-cpu.lock why="no NVIDIA GPU here, and the CPU build of torch can be had"
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
uv_options=(--index-strategy unsafe-best-match) pip_options=()
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
    "$python" -m venv "$venv" > "$log" 2>&1 || { cat "$log" >&2; fail "cannot make $venv"; }
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

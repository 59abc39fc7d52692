#!/usr/bin/env -S bash -p
# Write requirements.lock and requirements-cpu.lock from requirements.in, with hashes, and requirements-cluster.lock from its
# own; `make lock` passes the path of uv.
# The CPU build of torch is looked for in the folders or pages of PIP_FIND_LINKS and on the index TORCH_CPU_INDEX; where
# these have it for some Pythons only, its hashes for the others stay. Pins that are still good are kept; UPGRADE=1 moves
# what requirements.in leaves open to its newest version.
set -euo pipefail
uv=${1:?usage: experiments/install/lock.sh UV}
cd "$(dirname "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp requirements*.lock "$scratch/" 2>/dev/null || true

sources=()
for place in ${PIP_FIND_LINKS:-}; do sources+=(--find-links "$place"); done
[[ -z ${TORCH_CPU_INDEX:-} ]] || sources+=(--extra-index-url "$TORCH_CPU_INDEX" --index-strategy unsafe-best-match)
[[ -n ${SSL_CERT_FILE:-} || -z ${PIP_CERT:-} ]] || export SSL_CERT_FILE=$PIP_CERT

compile() { # INPUT OUTPUT [option...]: one resolution for every Linux, macOS and Python from 3.11
    "$uv" pip compile "$1" --output-file "$2" --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
        --no-annotate --no-emit-index-url --no-header --quiet ${UPGRADE:+--upgrade} "${@:3}"
}

compile requirements.in "$scratch/requirements.lock"
grep -E '^[a-z0-9._-]+==' "$scratch/requirements.lock" | grep -vE '^(torch|triton|cuda-|nvidia-)' | sed 's/ *\\$//' \
    > "$scratch/shared.txt"
sed -E 's/^(torch==[^ ]+)/\1+cpu/' requirements.in > "$scratch/cpu.in"
compile "$scratch/cpu.in" "$scratch/requirements-cpu.lock" --constraint "$scratch/shared.txt" "${sources[@]}"

entry() { # NAME FILE: a package's pin with its hashes
    sed -n "/^$1==/,/[^\\\\]\$/p" "$2"
}

keep_hashes() { # NAME FILE: those that the lock here has of the same version, beside those found
    local found before version
    found=$(entry "$1" "$2") before=$(entry "$1" "$(basename "$2")")
    version=$(head -n 1 <<< "$found")
    [[ $(head -n 1 <<< "$before") == "$version" ]] || return 0
    echo "$version" > "$scratch/entry"
    printf '%s\n' "$found" "$before" | grep -o -e '--hash=[a-z0-9:]*' | sort -u \
        | sed 's/.*/    & \\/; $s/ \\$//' >> "$scratch/entry"
    sed -i -e "/^$1==/r $scratch/entry" -e "/^$1==/,/[^\\\\]\$/d" "$2"
}
keep_hashes torch "$scratch/requirements-cpu.lock"

write() { # NAME WHAT [FROM]
    printf '# %s\n# Written by `make lock` from %s; do not edit.\n' "$2" "${3:-requirements.in}" | cat - "$scratch/$1" > "$scratch/new"
    mv "$scratch/new" "$1"
    echo "wrote $1: $(grep -cE '^[a-z0-9._-]+==' "$1") packages"
}
write requirements.lock 'Everything pinned with hashes, torch with CUDA, which runs on a CPU too. Linux, Python 3.11 to 3.13.'
write requirements-cpu.lock \
    'The same with a CPU build of torch, for machines without an NVIDIA GPU. Linux: Python 3.11 to 3.13 on x86_64, 3.12 on aarch64.'
if [[ -e requirements-cluster.in ]]; then
    compile requirements-cluster.in "$scratch/requirements-cluster.lock" --constraint "$scratch/shared.txt"
    write requirements-cluster.lock 'What WHERE=slurm and WHERE=ray need besides the packages of requirements.lock, with hashes.' \
        requirements-cluster.in
fi

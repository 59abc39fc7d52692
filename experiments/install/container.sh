#!/usr/bin/env -S bash -p
# Build the Containerfile, run it, or try it: make container, make container-run and make container-check.
#   experiments/install/container.sh build
#   experiments/install/container.sh run [COMMAND...]      without a command: make all
#   experiments/install/container.sh check
# Environment: ENGINE (podman, docker or buildah; otherwise the first of them that works), IMAGE (a name), BASE_IMAGE (another
# base), LOCK (another lock), BUILD_OPTIONS and RUN_OPTIONS (more options of the engine), CACHE (a folder for weights),
# MODELS_DIR and RELEASE_ZIP (mounted read-only), HF_TOKEN (handed on), and the engine's own, such as BUILDAH_ISOLATION=chroot.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${IMAGE:-localhost/entity-tracking}
outputs=(data/boxes data/runs data/results paper/out) # the image's volumes, with /cache
uid=10001                                             # the user that the Containerfile makes
read -ra more_for_build <<< "${BUILD_OPTIONS:-}"
read -ra more_for_run <<< "${RUN_OPTIONS:-}"

say() { echo "container: $*"; }
fail() { echo "container: $*" >&2; exit 2; }

choose_engine() { # by asking: docker may be a client without a daemon
    for engine in ${ENGINE:-podman docker buildah}; do
        if "$engine" info > /dev/null 2>&1; then return; fi
    done
    fail "${ENGINE:-none of podman, docker and buildah} works here; install one (on Debian and Ubuntu: apt-get install" \
        "podman), or do without a container: make all"
}

is_git_checkout() { # and not a folder inside somebody else's, nor what GIT_DIR names
    unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_COMMON_DIR
    [[ $(git rev-parse --show-toplevel 2> /dev/null) == "$(pwd -P)" ]]
}

build() {
    local name commit options=(--file Containerfile --tag "$image")
    commit=""
    if is_git_checkout; then
        commit=$(git rev-parse HEAD 2> /dev/null || true)
        [[ -z $(git status --porcelain 2> /dev/null) ]] || commit+=-dirty
    fi
    for name in BASE_IMAGE LOCK; do
        [[ -z ${!name:-} ]] || options+=(--build-arg "$name=${!name}")
    done
    say "$engine builds $image"
    BUILDAH_LAYERS=true "$engine" build "${options[@]}" --build-arg "REVISION=$commit" "${more_for_build[@]}" .
}

settle() { # FOLDER CACHE: make the output folders below FOLDER; sets options, which mount these and give the container a user
    local folder folders=("${outputs[@]/#/$1/}" "$2")
    mkdir -p "${folders[@]}"
    options=(--volume "$2:/cache")
    for folder in "${outputs[@]}"; do options+=(--volume "$1/$folder:/artifact/$folder"); done
    if ((EUID)); then # the caller's own number: what comes out is the caller's
        options+=(--user "$(id -u):$(id -g)")
        [[ $engine != podman ]] || options+=(--userns keep-id)
    else # the container of root is not root's either
        options+=(--user "$uid:$uid")
        chown -R "$uid:$uid" "${folders[@]::${#outputs[@]}}"
        chown "$uid:$uid" "$2"
    fi
    [[ $engine != podman ]] || options+=(--security-opt label=disable) # or SELinux refuses the folders
}

in_container() { # COMMAND...: in a new container with the options; buildah runs no image and knows no entry point
    local container folder undeclare=() status=0
    if [[ $engine != buildah ]]; then
        "$engine" run --rm "${options[@]}" "$image" "$@"
        return
    fi
    container=$(buildah from "$image")
    # It would mount volumes that the image declares over those of the options, or the other way round, by chance.
    for folder in /cache "${outputs[@]/#//artifact/}"; do undeclare+=(--volume "$folder-"); done
    buildah config "${undeclare[@]}" "$container"
    buildah run "${options[@]}" "$container" -- /artifact/experiments/install/entrypoint.sh "$@" || status=$?
    buildah rm "$container" > /dev/null
    return "$status"
}

mount_input() { # VARIABLE PLACE: the file or folder that the environment names, there in the container
    [[ -n ${!1:-} ]] || return 0
    [[ -e ${!1} ]] || fail "$1=${!1}: no such file or folder"
    options+=(--volume "$(realpath "${!1}"):$2:ro" --env "$1=$2")
}

run() {
    settle "$PWD" "${CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/entity-tracking}"
    mount_input MODELS_DIR /models
    mount_input RELEASE_ZIP /release.zip
    [[ -z ${HF_TOKEN:-} ]] || options+=(--env HF_TOKEN)
    if [[ $(nvidia-smi -L 2> /dev/null) == GPU* ]]; then
        case $engine in
            podman) options+=(--device nvidia.com/gpu=all) ;;
            docker) options+=(--gpus all) ;;
            buildah) say "buildah hands no GPU on; podman and docker do" ;;
        esac
    fi
    [[ $engine == buildah || ! -t 0 || ! -t 1 ]] || options+=(--interactive --tty)
    (($#)) || set -- make all
    options+=("${more_for_run[@]}")
    in_container "$@"
}

# What is taken away from the container, seen from inside, one fact a line.
# shellcheck disable=SC2016
FACTS='
echo "user $([[ $(id -u) == 0 ]] && echo root || echo other)"
echo "capabilities $(sed -n "s/^CapEff:\s*0*//p" /proc/self/status | grep . || echo none)"
echo "root $(awk "\$2 == \"/\" { now = \$4 } END { print now ~ /^ro,/ ? \"read-only\" : \"writable\" }" /proc/mounts)"
echo "network $(awk "NR > 2 && \$1 != \"lo:\" { now = \$1 } END { print now ? now : \"none\" }" /proc/net/dev)"'
WANTED=$'user other\ncapabilities none\nroot read-only\nnetwork none'

# What computes in there, seen from inside, in one line.
VERSIONS='import os, pathlib, platform, torch
lock = pathlib.Path(os.environ["VENV"], ".installed").read_text().split()[0]
print(f"Python {platform.python_version()}, torch {torch.__version__}, {lock}")'

take_away() { # adds to options all that the engine can; sets cannot, a pattern of the facts that it cannot change
    options+=(--cap-drop all)
    case $engine,${BUILDAH_ISOLATION:-} in
        buildah,chroot) cannot='^(root|network) ' ;;
        buildah,*) cannot='^root ' options+=(--network none) ;;
        *) cannot='^$' options+=(--network none --read-only --tmpfs /tmp:exec --security-opt no-new-privileges) ;;
    esac
}

look_inside() { # fail where anything wanted is not so
    local differing wrong
    in_container bash -c "$FACTS" > "$work/facts"
    say "inside: $(paste -sd , "$work/facts")"
    differing=$(grep -vxF "$WANTED" "$work/facts" || true)
    wrong=$(grep -vE "$cannot" <<< "$differing" || true)
    [[ -z $wrong ]] || fail "inside is not as wanted: ${wrong//$'\n'/, }"
    [[ -z $differing ]] || say "$engine cannot take away more; podman and docker can"
}

compare_files() { # with those that git tracks
    local folder options_of_find=(-type f -not -name '*.pyc')
    for folder in "${outputs[@]}"; do options_of_find+=(-not -path "./$folder/*"); done
    is_git_checkout || { say "no git checkout to compare the files with"; return; }
    git ls-files | sort > "$work/tracked"
    in_container find . "${options_of_find[@]}" | sed 's|^\./||' | sort > "$work/files"
    diff "$work/tracked" "$work/files" > "$work/diff" \
        || fail "its files are not those that git tracks (> is only in the image):" \
            "$(grep '^[<>]' "$work/diff" | head -n 5 | paste -sd ' ')"
    say "inside: the $(wc -l < "$work/tracked") files that git tracks, no other"
}

check() {
    local command
    build
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    settle "$work" "$work/cache"
    take_away
    options+=("${more_for_run[@]}")
    look_inside
    in_container python -c "$VERSIONS" > "$work/versions"
    say "inside: $(< "$work/versions")"
    compare_files
    for command in "make all PROFILE=tiny" "make table6" "make test"; do
        SECONDS=0
        # shellcheck disable=SC2086
        in_container $command || fail "$command: ended with status $? after $SECONDS s"
        say "$command: done in $SECONDS s"
        [[ -s $work/paper/out/tiny/report.html ]] || fail "no paper/out/tiny/report.html on the volume for paper/out"
    done
}

choose_engine
case ${1:-} in
    build | run | check) "$@" ;;
    *) fail "usage: experiments/install/container.sh build | run [COMMAND...] | check" ;;
esac

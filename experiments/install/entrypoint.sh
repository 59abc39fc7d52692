#!/usr/bin/env -S bash -p
# The container's entry point: where neither the environment nor the command names a PROFILE, choose one, paper if this
# container can use an NVIDIA GPU and tiny if not; say which and why; then run the command.
set -euo pipefail

gpus=$(nvidia-smi -L 2> /dev/null | grep -c '^GPU' || true)
lock=$(head -n 1 "$VENV/.installed")
named=$(printf '%s\n' "$@" | sed -n 's/^PROFILE=//p' | tail -n 1)

if [[ -n $named ]]; then
    PROFILE=$named why="the command names it"
elif [[ -n ${PROFILE:-} ]]; then
    why="the environment names it"
elif ((gpus == 0)); then
    PROFILE=tiny why="no NVIDIA GPU is visible (docker run --gpus all, podman run --device nvidia.com/gpu=all)"
elif [[ $lock == *-cpu.lock ]]; then
    PROFILE=tiny why="$gpus NVIDIA GPU(s) visible, but this image was built from $lock, whose torch cannot use them"
else
    PROFILE=paper why="$gpus NVIDIA GPU(s) visible"
fi
export PROFILE
echo "container: PROFILE=$PROFILE: $why" >&2
exec "$@"

#!/usr/bin/env -S bash -p
# Measure all that data/bench holds: experiments/bench/all.sh PYTHON DATA_DIR BENCH [SHAPE...]
# With shapes only these are measured (inflated models), the rest stays.
set -euo pipefail
python=$1 data=$2 bench=$3
shift 3
test_set=$data/test-subsample-states-t5.jsonl
shapes=("$@")
if (($# == 0)); then
    "$python" experiments/bench/decoding.py --out "$bench/decoding.csv" --data "$test_set"
    "$python" experiments/bench/scaling.py --out "$bench/scaling.csv" --data "$data/test-t5.jsonl"
    "$python" experiments/bench/precision.py --out "$bench/bfloat16.csv" --data "$test_set"
    shapes=(100m --prompts 64)
fi
"$python" experiments/bench/shapes.py --out "$bench/shapes.csv" --data "$test_set" --shapes "${shapes[@]}"
"$python" -m paper.bench --bench "$bench" --readme README.md
"$python" -m paper.claims_page --out CLAIMS.md

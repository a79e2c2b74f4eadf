#!/usr/bin/env bash
# Trains on a machine without network from what prepare.py wrote, within a number of minutes: questions, then SST-2, from
# students that inherit their teachers' layers. START=transfer: from one new encoder that learns from text first. Phases
# end when their share of the time is used up, with the learning rate at zero, and export.
#
#   ./device_run.sh PREPARED RUN MINUTES [CALL_MINUTES]
#
# With CALL_MINUTES the script stops by then with a checkpoint and exit code 3; the same command continues (inherit.py
# is not interrupted; how long it takes on a GPU has not been measured).
# Environment: START (inherit or transfer), PRESET (gpu), COMPILE (--compile; empty: eager), QAT (0.15), PYTHON (python3),
# INHERIT: options of inherit.py, OUT: exports are copied there.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,11p "$0" >&2; exit 2; }
prepared=$(realpath "$1") minutes=$3 call=${4:-100000}
mkdir -p "$2" && run=$(realpath "$2")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
base=$prepared/teachers/base
[ -d "$base" ] || base=$prepared/teachers/qa

share() { awk "BEGIN { print $minutes * $1 }"; }
left() { awk "BEGIN { left = $call - $SECONDS / 60; print (left > 0 ? left : 0) }"; }
common() { echo --preset "${PRESET:-gpu}" --prepared "$prepared" --call-minutes "$(left)" ${COMPILE---compile}; }
keep() { if [ -n "${OUT:-}" ]; then mkdir -p "$OUT/$1" && cp "$run/$1/model/"* "$run/$1/log.jsonl" "$OUT/$1/"; fi; }

# Shares of the time. Start-up, compilation and export take what is left of the whole.
case ${START:-inherit} in
    # Inherited networks bear less than new ones.
    inherit) shares=(qa:0.55 sst2:0.30) rate=(--rate 2e-5) ;;
    transfer)
        shares=(qa:0.18 sst2:0.08) rate=()
        [ -d "$run/transfer/base" ] || $python transfer.py $(common) --teacher "$base" --run "$run/transfer" \
            --minutes "$(share 0.50)" --pretrain-minutes "$(share 0.14)"
        ;;
    *) echo "START is $START; expected inherit or transfer" >&2; exit 2 ;;
esac
for task in "${shares[@]}"; do
    name=${task%:*} teacher=$prepared/teachers/${task%:*} student=$run/transfer/base
    [ -d "$run/$name/model" ] && continue
    if [ "${START:-inherit}" = inherit ]; then
        student=$run/$name/inherited
        [ -d "$student" ] || $python inherit.py --task "$name" --prepared "$prepared" --teacher "$teacher" --out "$student" ${INHERIT:-}
    fi
    $python finetune.py --task "$name" $(common) --teacher "$teacher" "${rate[@]}" \
        --student "$student" --run "$run/$name" --minutes "$(share "${task#*:}")" --qat "${QAT:-0.15}"
    keep "$name"
done

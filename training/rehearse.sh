#!/usr/bin/env bash
# The whole chain with the `tiny` preset on one CPU core, a few minutes: losses fall, a killed run ends with the same
# weights as one that was left alone, and what is exported opens. With MOBILEBERT_BIN set, the engine predicts with it.
#
#   ./rehearse.sh --data DIR --teachers DIR --out DIR      (--teachers holds squad-minilm-l6 and sst2-minilm-l6)
set -euo pipefail
data=../shared/data teachers=../shared/weights out=
while [ $# -gt 0 ]; do
    case $1 in
        --data) data=$2 ;;
        --teachers) teachers=$2 ;;
        --out) out=$2 ;;
        *) echo "unknown option $1" >&2; exit 2 ;;
    esac
    shift 2
done
[ -n "$out" ] || { echo "--out is missing" >&2; exit 2; }
data=$(realpath "$data") teachers=$(realpath "$teachers")
mkdir -p "$out" && out=$(realpath "$out")
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1
python=${PYTHON:-python3}
rm -rf "$out"/{prepared,run,whole,killed,teacher,teacher-qa,further,further-qa,student-qa,inherited}
rm -rf "$out"/{teacher,student,further}-ner "$out"/{rated,prepared-rated}

echo "== arithmetic"
$python -m unittest test_arithmetic test_recombine test_inherit test_names test_wikipedia_names test_ratings test_rating_teacher test_mpnet

echo "== prepare"
$python prepare.py --data "$data" --out "$out/prepared" --text-mb 0.4 --examples 300 --recombined 100 \
    --base "$teachers/squad-minilm-l6" \
    --qa-teacher "$teachers/squad-minilm-l6" --sst2-teacher "$teachers/sst2-minilm-l6"

echo "== train, as on a lent machine"
export PYTHON=$python PRESET=tiny COMPILE= QAT=0.3
START=transfer OUT= ./device_run.sh "$out/prepared" "$out/run" 60

echo "== train students that inherit their teachers' layers, as on a lent machine"
export START=inherit OUT= INHERIT="--tokens 4000 --steps 10"
./device_run.sh "$out/prepared" "$out/inherited" 60 0 && { echo "a call of 0 minutes finished" >&2; exit 1; } || [ $? = 3 ]
./device_run.sh "$out/prepared" "$out/inherited" 60

echo "== kill and continue"
# Without --minutes: a clock in the schedule makes two runs differ.
transfer=(--preset tiny --prepared "$out/prepared" --teacher "$out/prepared/teachers/base" --run)
killed=("${transfer[@]}" "$out/killed")
$python transfer.py "${transfer[@]}" "$out/whole" >/dev/null
$python transfer.py "${killed[@]}" >"$out/killed.log" &
victim=$!
until grep -qs '"phase": "pretrain", "step": 10,' "$out/killed.log"; do
    kill -0 $victim || { cat "$out/killed.log"; exit 1; }
    sleep 0.2
done
kill -9 $victim
wait $victim || true
$python transfer.py "${killed[@]}" --call-minutes 0 && { echo "a call of 0 minutes finished" >&2; exit 1; } || [ $? = 3 ]
$python transfer.py "${killed[@]}"
grep -q '"event": "continued", "phase": "pretrain"' "$out/killed/log.jsonl"
for file in "$out"/whole/base/*; do
    cmp "$file" "$out/killed/base/$(basename "$file")"
done
echo "same weights"

echo "== train teachers, and a finished model further with two, in bf16"
$python teacher.py --task qa --preset tiny --prepared "$out/prepared" --base "$teachers/squad-minilm-l6" --run "$out/teacher-qa"
$python teacher.py --task sst2 --preset tiny --prepared "$out/prepared" --base "$teachers/squad-minilm-l6" --run "$out/teacher"
$python finetune.py --task sst2 --preset tiny --prepared "$out/prepared" --bf16 --steps 10 \
    --teacher "$out/prepared/teachers/sst2" "$out/teacher/model" --student "$out/run/sst2/model" --run "$out/further"

echo "== train a student that inherits the new teacher's layers, in bf16"
$python inherit.py --task qa --prepared "$out/prepared" --teacher "$out/teacher-qa/model" --out "$out/student-qa" $INHERIT
$python finetune.py --task qa --preset tiny --prepared "$out/prepared" --bf16 --steps 5 --rate 1e-6 \
    --teacher "$out/teacher-qa/model" --student "$out/student-qa" --run "$out/further-qa"

echo "== names: a teacher, a student that inherits its layers, and its training"
base=$teachers/squad-minilm-l6 prepared=$out/prepared
$python prepare_ner.py --data "$data" --tokenizer "$base" --out "$prepared" --examples 100 --exchanged 100 --sentences 50
$python teacher.py --task ner --preset tiny --prepared "$prepared" --base "$base" --run "$out/teacher-ner"
$python inherit.py --task ner --prepared "$prepared" --teacher "$out/teacher-ner/model" --out "$out/student-ner" $INHERIT
$python finetune.py --task ner --preset tiny --prepared "$prepared" --bf16 --steps 5 --rate 1e-6 \
    --teacher "$out/teacher-ner/model" --student "$out/student-ner" --run "$out/further-ner"

echo "== sentences with people's ratings"
for number in $(seq 40); do
    printf '%s\t2.9\ta kettle that boils in a minute\n%s\t-2.2\tit leaks\n%s\t0.1\tit has a lid\n' $number $number $number
done >"$out/rated.txt"
$python ratings.py --data "$data" --tokenizer "$base" --out "$out/prepared-rated" --ratings "$out/rated.txt" --examples 100
$python finetune.py --task sst2 --preset tiny --prepared "$out/prepared-rated" --steps 10 \
    --teacher "$out/run/sst2/model" --student "$out/run/sst2/model" --run "$out/rated"

echo "== check"
$python check_rehearsal.py --run "$out/run"
$python check_rehearsal.py --run "$out/inherited"
echo "rehearsed"

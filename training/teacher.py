"""Fine-tunes a BERT on a task's labels, as a teacher for `finetune.py`.

    python teacher.py --task qa --preset cpu --prepared DIR --base FOLDER --run DIR --seed 2

`--base` is an encoder with or without a head. `--run`/model is the result. Everything between f32 weights is bf16, or f32
with `--f32`. Where the examples have a larger teacher's logits (`label_names.py`), the model learns these too; where they
have probabilities (`label_ratings.py`), it learns these alone.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import PRESETS, add_arguments, overridden
from data import NO_LABEL, Batch, Examples
from export import write_folder
from forward import compiled, encode
from model import frozen, open_model
from quantize import Bfloat16WithDropout, Float, FloatWithDropout
from tasks import TASKS, Reader, from_teacher, ner_logits, qa_logits, qa_places, sst2_logits
from trainer import NOT_FINISHED, Trainer, pick_device, seed_everything


def logits_and_labels(examples: Examples, reader: Reader, picked: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """`[decisions, choices]` and `[decisions]`: a sentence is one decision, a question two (start and end).

    With tags, each token is one; those with `NO_LABEL` do not count.
    """
    trace = reader.trace(batch)
    if examples.tags is not None:
        return ner_logits(reader, trace).flatten(0, 1), examples.tags_of(picked, batch.ids.shape[1]).flatten()
    if "start" in examples.labels:
        return qa_logits(reader, trace, batch).flatten(0, 1), qa_places(examples, picked).flatten()
    return sst2_logits(reader, trace), examples.label("label", picked)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--prepared", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--f32", action="store_true", help="for CPUs that do not multiply bf16")
    args = parser.parse_args()
    settings, run = PRESETS[args.preset], Path(args.run)
    phase = overridden(settings.teachers[args.task], args)
    seed_everything(args.seed)
    device = pick_device(args.device)

    model = open_model(args.base, args.task).to(device)
    examples = Examples(args.prepared / f"{args.task}.npz", device, phase.length)
    if "label" in examples.labels and "percent" not in examples.labels:
        examples.train = examples.train[examples.label("label", examples.train).cpu() != NO_LABEL]
    run_encoder = compiled() if args.compile else encode
    arithmetic = FloatWithDropout if args.f32 else Bfloat16WithDropout
    trained = Reader(model, arithmetic(model.config.hidden_dropout_prob), run_encoder)
    finished = Reader(model, Float(), run_encoder)

    def losses(step: int, _progress: float) -> dict[str, Tensor]:
        picked = examples.pick(step, phase.batch, args.seed)
        batch = examples.batch(picked, phase.multiple)
        logits, labels = logits_and_labels(examples, trained, picked, batch)
        if "percent" in examples.labels:
            positive = examples.label("percent", picked) / 100
            return {"ratings": F.cross_entropy(logits, torch.stack([1 - positive, positive], 1))}
        if examples.logits is None:
            return {"labels": F.cross_entropy(logits, labels, ignore_index=NO_LABEL)}
        target, told = examples.logits_of(picked, batch.ids.shape[1])
        wrong = F.cross_entropy(logits, labels, ignore_index=NO_LABEL, reduction="sum")
        share = told.sum() / batch.mask.sum()
        teacher = from_teacher(logits.view_as(target)[told], target[told]) * share if told.any() else wrong.new_zeros(())
        return {"labels": wrong / batch.mask.sum(), "teacher": teacher}

    module = nn.ModuleDict({"model": model})
    trainer = Trainer(run, module, device, args.seed, settings.log_steps, settings.checkpoint_seconds, args.call_minutes)
    if not trainer.phase("teacher", phase, losses, args.minutes):
        sys.exit(NOT_FINISHED)
    frozen(model)
    right = []
    with torch.no_grad():
        for picked in examples.held_out.split(64):
            logits, labels = logits_and_labels(examples, finished, picked, examples.batch(picked, phase.multiple))
            decided = (logits.argmax(-1) == labels) | (labels == NO_LABEL)
            right.append(decided.view(len(picked), -1).all(1))
    trainer.log(event="held out", examples=len(examples.held_out), right=round(torch.cat(right).double().mean().item(), 4))
    write_folder(model, args.base, run / "model")


if __name__ == "__main__":
    main()

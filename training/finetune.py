"""Task distillation of a MobileBERT: questions (SQuAD, QAMR) or SST-2, from a teacher fine-tuned on the task.

    python finetune.py --task qa --preset gpu --prepared DIR --teacher FOLDER --student DIR --run DIR [--qat 0.2]

`--student` is what inherit.py or transfer.py wrote, or any MobileBERT folder. `--run`/model is the result.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from config import PRESETS, add_arguments, overridden
from data import Examples
from export import write_folder
from forward import compiled, encode
from model import frozen, open_model
from quantize import Bfloat16, Float, Int8
from tasks import TASKS, Reader, Task
from trainer import NOT_FINISHED, Trainer, generator, pick_device, seed_everything
from transfer import Transfer


@torch.no_grad()
def share_right(task: Task, examples: Examples, reader: Reader, multiple: int) -> float:
    """Of the held-out examples."""
    right = [task.right(reader, picked, examples.batch(picked, multiple)) for picked in examples.held_out.split(64)]
    return torch.cat(right).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--prepared", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument(
        "--teacher", type=Path, nargs="+", required=True, help="of several, the logits are averaged; feature maps: the first's"
    )
    parser.add_argument("--student", type=Path, required=True)
    parser.add_argument("--qat", type=float, default=0.0, help="last share of the phase that trains in int8 arithmetic")
    parser.add_argument("--bf16", action="store_true", help="bf16 between f32 weights; for CPUs that multiply it")
    args = parser.parse_args()
    settings, run = PRESETS[args.preset], Path(args.run)
    phase = overridden(getattr(settings, args.task), args)
    seed_everything(args.seed)
    device = pick_device(args.device)

    model = open_model(args.student, args.task).to(device)
    teachers = [Reader(frozen(open_model(folder, args.task)).to(device), Float()) for folder in args.teacher]
    transfer = Transfer(model.base_model, teachers[0].model.base_model).to(device)
    examples = Examples(args.prepared / f"{args.task}.npz", device, phase.length)
    task: Task = TASKS[args.task](examples, teachers, transfer)
    run_encoder = compiled() if args.compile else encode
    in_float = Reader(model, Float(), run_encoder)
    in_int8 = Reader(model, Int8())
    trained = Reader(model, Bfloat16(), run_encoder) if args.bf16 else in_float
    for teacher in teachers:
        teacher.run = run_encoder
        if args.bf16:
            teacher.how = Bfloat16()
            teacher.model.base_model.bfloat16()

    def losses(step: int, progress: float) -> dict[str, Tensor]:
        picked = examples.pick(step, phase.batch, args.seed)
        batch = examples.batch(picked, phase.multiple)
        student = in_int8 if progress >= 1 - args.qat else trained
        return task.losses(student, picked, batch, generator(device, args.seed, step))

    module = nn.ModuleDict({"student": model, "transfer": transfer})
    trainer = Trainer(run, module, device, args.seed, settings.log_steps, settings.checkpoint_seconds, args.call_minutes)
    if not trainer.phase(args.task, phase, losses, args.minutes):
        sys.exit(NOT_FINISHED)
    model.eval()
    scores = {
        name: share_right(task, examples, reader, phase.multiple)
        for name, reader in (("teacher", teachers[0]), ("float", in_float), ("int8", in_int8))
    }
    trainer.log(event="held out", examples=len(examples.held_out), **{k: round(v, 4) for k, v in scores.items()})
    write_folder(model, args.student, run / "model")


if __name__ == "__main__":
    main()

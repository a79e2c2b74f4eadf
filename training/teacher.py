"""Fine-tunes a BERT on SST-2's labels, as a task teacher for `finetune.py`.

    python teacher.py --preset cpu --prepared DIR --base FOLDER --run DIR --seed 2

`--base` is an encoder with or without a head. `--run`/model is the result. Several seeds give teachers that are better together.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import PRESETS, add_arguments, overridden
from data import NO_LABEL, Examples
from export import write_folder
from model import frozen, open_model
from quantize import Float
from tasks import Reader, sst2_logits
from trainer import NOT_FINISHED, Trainer, pick_device, seed_everything


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--prepared", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--base", type=Path, required=True)
    args = parser.parse_args()
    phase = overridden(PRESETS[args.preset].teacher, args)
    seed_everything(args.seed)
    device = pick_device(args.device)

    model = open_model(args.base, "sst2").to(device).train()
    examples = Examples(args.prepared / "sst2.npz", device, phase.length)
    examples.train = examples.train[examples.label("label", examples.train).cpu() != NO_LABEL]

    def losses(step: int, _progress: float) -> dict[str, Tensor]:
        picked = examples.pick(step, phase.batch, args.seed)
        batch = examples.batch(picked, phase.multiple)
        # The module's own forward pass, because it has dropout.
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(input_ids=batch.ids, attention_mask=batch.mask.long()).logits
        return {"labels": F.cross_entropy(logits.float(), examples.label("label", picked))}

    module = nn.ModuleDict({"model": model})
    settings, run = PRESETS[args.preset], Path(args.run)
    trainer = Trainer(run, module, device, args.seed, settings.log_steps, settings.checkpoint_seconds, args.call_minutes)
    if not trainer.phase("teacher", phase, losses, args.minutes):
        sys.exit(NOT_FINISHED)
    reader = Reader(frozen(model), Float())
    right = 0
    with torch.no_grad():
        for picked in examples.held_out.split(64):
            logits = sst2_logits(reader, reader.trace(examples.batch(picked, phase.multiple)))
            right += (logits.argmax(-1) == examples.label("label", picked)).sum().item()
    trainer.log(event="held out", examples=len(examples.held_out), right=round(right / len(examples.held_out), 4))
    write_folder(model, args.base, run / "model")


if __name__ == "__main__":
    main()

"""Knowledge transfer from a teacher to a new MobileBERT (paper, sections 3.5 and 3.6), then masked words.

    python transfer.py --preset gpu --prepared DIR --teacher FOLDER --run DIR [--minutes 12 --pretrain-minutes 5]

Both phases train the whole network at once (joint knowledge transfer); `--run`/base is the result, an encoder.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MobileBertForMaskedLM, PreTrainedModel

from config import PRESETS, add_arguments, overridden
from data import Text, masked
from export import write_folder
from forward import Trace, compiled, encode, heads
from model import frozen, has_masked_lm_head, initialise, open_model, student
from quantize import Float
from trainer import NOT_FINISHED, Trainer, generator, pick_device, seed_everything

FEATURES_IN_PRETRAINING = 0.2
"""Weight of the feature maps while words are masked."""

LOGITS = 0.5
"""Weight of the teacher's logits against the words themselves: the paper's 1 - alpha."""


def pairs(student_layers: int, teacher_layers: int) -> list[tuple[int, int]]:
    """Layers that are compared, from 0. With 24 and 6, the last of each four student layers and its teacher layer."""
    count = min(student_layers, teacher_layers)
    return [(i * student_layers // count - 1, i * teacher_layers // count - 1) for i in range(1, count + 1)]


class Transfer(nn.Module):
    """Feature-map and attention transfer, with a learned projection of each compared layer to the teacher's width."""

    def __init__(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        super().__init__()
        s, t = student.config, teacher.config
        self.pairs = pairs(s.num_hidden_layers, t.num_hidden_layers)
        self.heads = s.num_attention_heads
        if t.hidden_size % self.heads:
            raise SystemExit(f"the teacher's width {t.hidden_size} does not split into the student's {self.heads} heads")
        self.projections = nn.ModuleList(nn.Linear(s.hidden_size, t.hidden_size) for _ in range(len(self.pairs) + 1))
        if s.hidden_size == t.hidden_size:
            # Right for a student that inherits its teacher's hidden states (inherit.py), and no worse for another.
            for projection in self.projections:
                nn.init.eye_(projection.weight)
                nn.init.zeros_(projection.bias)

    def features(self, student: Trace, teacher: Trace, mask: Tensor | None = None) -> Tensor:
        """Mean square of the difference of the normalised feature maps: embeddings and each pair of layers."""
        places = [(0, 0)] + [(s + 1, t + 1) for s, t in self.pairs]
        total = torch.zeros((), device=student.hidden[0].device)
        for project, (s, t) in zip(self.projections, places, strict=True):
            width = teacher.hidden[t].shape[-1:]
            x = student.hidden[s]
            mine = F.layer_norm(F.linear(x, project.weight.to(x.dtype), project.bias.to(x.dtype)), width)
            theirs = F.layer_norm(teacher.hidden[t], width)
            error = (mine.float() - theirs.float()).square().mean(-1)
            total = total + (error.mean() if mask is None else error[mask].mean())
        return total / len(places)

    def attention(self, student: Trace, teacher: Trace) -> Tensor:
        """KL divergence of the student's attention from the teacher's, without padding.

        The teacher's queries and keys are cut into as many heads as the student has: what would be several of its heads
        attend together (as relation heads in MiniLMv2, arXiv 2012.15828).
        """
        total = torch.zeros((), device=student.hidden[0].device)
        for s, t in self.pairs:
            mine = self._log_attention(student.query[s], student.key[s])
            theirs = self._log_attention(teacher.query[t], teacher.key[t])
            total = total + (theirs.exp() * (theirs - mine)).sum(-1).mean()
        return total / len(self.pairs)

    def _log_attention(self, query: Tensor, key: Tensor) -> Tensor:
        q, k = heads(query, self.heads), heads(key, self.heads)
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).float().log_softmax(-1)


def word_logits(model: PreTrainedModel, hidden: Tensor, places: Tensor) -> Tensor:
    """Logits over the vocabulary at `places` `[batch, count]` only."""
    picked = hidden.gather(1, places[..., None].expand(-1, -1, hidden.shape[-1]))
    return model.cls(picked).float()


def make_student(args: argparse.Namespace, teacher: PreTrainedModel) -> MobileBertForMaskedLM:
    words = teacher.get_input_embeddings().weight
    model = student(PRESETS[args.preset].student, len(words))
    initialise(model, words)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--prepared", type=Path, required=True, help="folder that prepare.py wrote")
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--pretrain-minutes", type=float, help="as --minutes, for the phase with masked words")
    parser.add_argument("--pretrain-steps", type=int)
    args = parser.parse_args()
    settings, run = PRESETS[args.preset], Path(args.run)
    seed_everything(args.seed)
    device = pick_device(args.device)

    head = "mlm" if has_masked_lm_head(args.teacher) else "none"
    teacher = frozen(open_model(args.teacher, head)).to(device)
    teacher_encoder = teacher if head == "none" else teacher.base_model
    model = make_student(args, teacher).to(device)
    transfer = Transfer(model.mobilebert, teacher_encoder).to(device)
    text = Text(args.prepared, device)
    how = Float()
    run_encoder = compiled() if args.compile else encode

    def knowledge(step: int, _progress: float) -> dict[str, Tensor]:
        batch = text.batch(step, phase.batch, phase.length, args.seed)
        with torch.no_grad():
            theirs = run_encoder(teacher_encoder, batch.ids, batch.types, None, how)
        mine = run_encoder(model.mobilebert, batch.ids, batch.types, None, how)
        return {"features": transfer.features(mine, theirs), "attention": transfer.attention(mine, theirs)}

    def words(step: int, _progress: float) -> dict[str, Tensor]:
        batch = text.batch(step, phase.batch, phase.length, args.seed + 1)
        ids, places, original = masked(batch, model.config.vocab_size, generator(device, args.seed, step))
        with torch.no_grad():
            theirs = run_encoder(teacher_encoder, ids, batch.types, None, how)
        mine = run_encoder(model.mobilebert, ids, batch.types, None, how)
        logits = word_logits(model, mine.hidden[-1], places)
        losses = {"words": F.cross_entropy(logits.flatten(0, 1), original.flatten())}
        if head == "mlm":
            target = word_logits(teacher, theirs.hidden[-1], places).softmax(-1)
            losses["words"] = (1 - LOGITS) * losses["words"]
            losses["logits"] = LOGITS * F.cross_entropy(logits.flatten(0, 1), target.flatten(0, 1))
        return losses | {"features": FEATURES_IN_PRETRAINING * transfer.features(mine, theirs)}

    module = nn.ModuleDict({"student": model, "transfer": transfer})
    trainer = Trainer(run, module, device, args.seed, settings.log_steps, settings.checkpoint_seconds, args.call_minutes)
    phase = overridden(settings.transfer, args)
    done = trainer.phase("transfer", phase, knowledge, args.minutes)
    if done:
        args.steps = args.pretrain_steps
        phase = overridden(settings.pretrain, args)
        done = trainer.phase("pretrain", phase, words, args.pretrain_minutes)
    if not done:
        sys.exit(NOT_FINISHED)
    write_folder(model.mobilebert, args.teacher, run / "base")


if __name__ == "__main__":
    main()

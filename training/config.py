"""Settings of a training run and three presets: `tiny` (rehearsal), `cpu` (6 layers), `gpu` (24 layers)."""

import argparse
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Student:
    """Sizes of a MobileBERT (paper, table 1)."""

    layers: int = 24
    hidden: int = 512
    bottleneck: int = 128
    embedding: int = 128
    heads: int = 4
    feedforward: int = 512
    ffns: int = 4


@dataclass(frozen=True)
class Phase:
    """One stretch of AdamW: linear warm-up, then a cosine to zero."""

    steps: int
    batch: int
    """Sequences a step."""
    length: int
    """Tokens a sequence, at most."""
    rate: float
    """Highest learning rate."""
    multiple: int = 16
    """Batches are padded to a multiple of this: larger means fewer shapes to compile, more padding."""
    warmup: float = 0.06
    """Share of the phase."""
    weight_decay: float = 0.01
    clip: float = 1.0
    """Largest norm of the gradient."""


@dataclass(frozen=True)
class Settings:
    """All that a preset fixes."""

    student: Student
    transfer: Phase
    """Feature maps and attention (paper, section 3.5)."""
    pretrain: Phase
    """Masked words, with the teacher's logits if it has any (paper, section 3.5)."""
    qa: Phase
    sst2: Phase
    ner: Phase
    teachers: dict[str, Phase]
    """A BERT on a task's labels."""
    checkpoint_seconds: float = 120.0
    log_steps: int = 20


TINY = Settings(
    student=Student(layers=2, hidden=64, bottleneck=32, embedding=32, heads=2, feedforward=64, ffns=2),
    transfer=Phase(steps=30, batch=8, length=32, rate=3e-3),
    pretrain=Phase(steps=25, batch=8, length=32, rate=3e-3),
    qa=Phase(steps=40, batch=8, length=96, rate=2e-3),
    sst2=Phase(steps=60, batch=16, length=32, rate=5e-3),
    ner=Phase(steps=60, batch=16, length=64, rate=2e-3),
    teachers={
        "qa": Phase(steps=20, batch=8, length=96, rate=1e-4),
        "sst2": Phase(steps=20, batch=16, length=32, rate=1e-4),
        "ner": Phase(steps=20, batch=16, length=64, rate=1e-4),
    },
    checkpoint_seconds=0.0,
    log_steps=5,
)

CPU = Settings(
    student=Student(layers=6),
    transfer=Phase(steps=6_000, batch=32, length=64, rate=8e-4),
    pretrain=Phase(steps=2_000, batch=32, length=64, rate=5e-4),
    qa=Phase(steps=6_000, batch=16, length=256, rate=4e-4),
    sst2=Phase(steps=12_000, batch=64, length=64, rate=5e-4, multiple=4),
    ner=Phase(steps=4_000, batch=32, length=128, rate=5e-5, multiple=8),
    teachers={
        "qa": Phase(steps=4_500, batch=32, length=384, rate=1e-4),
        "sst2": Phase(steps=3_000, batch=64, length=64, rate=6e-5, multiple=4),
        "ner": Phase(steps=2_000, batch=32, length=128, rate=1e-4, multiple=8),
    },
)

# Steps are upper bounds here: on a lent machine the clock ends each phase.
GPU = Settings(
    student=Student(),
    transfer=Phase(steps=9_000, batch=512, length=128, rate=1e-3, multiple=64),
    pretrain=Phase(steps=4_000, batch=512, length=128, rate=6e-4, multiple=64),
    qa=Phase(steps=6_000, batch=64, length=384, rate=3e-4, multiple=64),
    sst2=Phase(steps=6_000, batch=256, length=64, rate=3e-4, multiple=64),
    ner=Phase(steps=4_000, batch=64, length=128, rate=1e-4, multiple=64),
    teachers={
        "qa": Phase(steps=4_500, batch=32, length=384, rate=1e-4, multiple=64),
        "sst2": Phase(steps=3_000, batch=64, length=64, rate=6e-5, multiple=64),
        "ner": Phase(steps=2_000, batch=32, length=128, rate=1e-4, multiple=64),
    },
)

PRESETS = {"tiny": TINY, "cpu": CPU, "gpu": GPU}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that all training scripts share."""
    parser.add_argument("--preset", choices=PRESETS, required=True)
    parser.add_argument("--run", required=True, help="folder for the checkpoint, the log and the result")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default=None, help="cpu or cuda; default: cuda if there is one")
    parser.add_argument("--compile", action="store_true", help="torch.compile the encoders")
    parser.add_argument("--steps", type=int, help="steps of a phase, instead of the preset's")
    parser.add_argument("--batch", type=int, help="sequences a step, instead of the preset's")
    parser.add_argument("--rate", type=float, help="highest learning rate, instead of the preset's")
    parser.add_argument("--minutes", type=float, help="a phase also ends, learning rate at zero, after this long")
    parser.add_argument("--call-minutes", type=float, help="stop with a checkpoint and exit code 3 after this long")


def overridden(phase: Phase, args: argparse.Namespace) -> Phase:
    """A preset's phase with what the command line says."""
    given = {name: getattr(args, name) for name in ("steps", "batch", "rate")}
    return replace(phase, **{name: value for name, value in given.items() if value is not None})

"""The loop: schedule, clipping, mixed precision, checkpoints, log, clock."""

import json
import math
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from torch import Tensor, nn

from config import Phase

NOT_FINISHED = 3
"""Exit code of a run that stopped early with a checkpoint: the same command continues it."""

MOST_SKIPPED_STEPS = 20
"""Steps in a row whose gradient may be infinite before the run gives up."""

Losses = Callable[[int, float], dict[str, Tensor]]
"""From the step and the progress (0..1) to named losses: the sum is minimised. A step decides its data and its noise."""


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device(name: str | None) -> torch.device:
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda":
        # TF32 multiplies the integers of int8 arithmetic exactly; everything that may be rough is bf16 already.
        torch.backends.cuda.matmul.allow_tf32 = True
    return device


def generator(device: torch.device, seed: int, step: int) -> torch.Generator:
    """Noise of one step: a continued run draws the same."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)


class Trainer:
    """Minimises losses over the parameters of `module`, in phases that can be interrupted."""

    def __init__(
        self,
        run: Path,
        module: nn.Module,
        device: torch.device,
        seed: int,
        log_steps: int,
        checkpoint_seconds: float,
        call_minutes: float | None,
    ) -> None:
        self.run, self.module, self.device, self.seed = run, module, device, seed
        self.log_steps, self.checkpoint_seconds = log_steps, checkpoint_seconds
        self.call_ends = math.inf if call_minutes is None else time.monotonic() + 60 * call_minutes
        self.stop_requested = False
        self.finished: list[str] = []
        run.mkdir(parents=True, exist_ok=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._request_stop)

    def _request_stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_requested = True

    def phase(self, name: str, phase: Phase, losses: Losses, minutes: float | None = None) -> bool:
        """Runs or continues a phase; false if it was stopped before its end (a checkpoint is written)."""
        optimizer = torch.optim.AdamW(self._groups(phase), lr=phase.rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
        step, spent = self._load(name, phase, optimizer)
        if step is None:
            return True
        started, saved, skipped = time.monotonic(), time.monotonic(), 0
        window: list[dict[str, Tensor]] = []
        since = (step, started)
        while True:
            now = time.monotonic()
            seconds = spent + now - started
            clock = 0.0 if minutes is None else seconds / (60 * minutes)
            progress = max(step / phase.steps, clock)
            done = progress >= 1.0
            stop = not done and (self.stop_requested or now >= self.call_ends)
            if done:
                self.finished.append(name)
            if done or stop or now - saved >= self.checkpoint_seconds:
                self._save(name, phase, optimizer, step, seconds)
                saved = time.monotonic()
            if done or stop:
                return done

            for group in optimizer.param_groups:
                group["lr"] = phase.rate * schedule(progress, phase.warmup)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                parts = losses(step, progress)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(parts.values())).sum().backward()
            norm = nn.utils.clip_grad_norm_(self.module.parameters(), phase.clip)
            if math.isfinite(norm.item()):
                optimizer.step()
                skipped = 0
            else:
                skipped += 1
                if skipped > MOST_SKIPPED_STEPS:
                    raise SystemExit(f"{name}: {skipped} steps in a row without a finite gradient; lower --rate")
            step += 1
            window.append({k: v.detach() for k, v in parts.items()} | {"gradient": norm})
            if step % self.log_steps == 0:
                self._log_window(name, phase, step, progress, optimizer, window, since)
                window, since = [], (step, time.monotonic())

    def log(self, **fields: object) -> None:
        """Appends a line to `log.jsonl` and prints it."""
        line = json.dumps(fields)
        with (self.run / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def _log_window(
        self,
        name: str,
        phase: Phase,
        step: int,
        progress: float,
        optimizer: torch.optim.Optimizer,
        window: list[dict[str, Tensor]],
        since: tuple[int, float],
    ) -> None:
        means = {k: round(torch.stack([w[k].float() for w in window]).mean().item(), 5) for k in window[0]}
        seconds = time.monotonic() - since[1]
        rate = (step - since[0]) * phase.batch / seconds
        self.log(
            phase=name,
            step=step,
            progress=round(progress, 4),
            rate=optimizer.param_groups[0]["lr"],
            **means,
            sequences_per_second=round(rate, 1),
            tokens_per_second_at_most=round(rate * phase.length),
        )

    def _groups(self, phase: Phase) -> list[dict[str, object]]:
        """Matrices decay; biases, norms and scales do not."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        return [
            {"params": [p for p in trained if p.dim() > 1], "weight_decay": phase.weight_decay},
            {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
        ]

    def _path(self) -> Path:
        return self.run / "checkpoint.pt"

    def _save(self, name: str, phase: Phase, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
        state = {
            "phase": name,
            "settings": asdict(phase),
            "seed": self.seed,
            # The data's position too: batches are a function of the seed and the step.
            "step": step,
            "seconds": seconds,
            "model": self.module.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state() if self.device.type == "cuda" else None,
            "finished": self.finished,
        }
        temporary = self._path().with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self._path())

    def _load(self, name: str, phase: Phase, optimizer: torch.optim.Optimizer) -> tuple[int | None, float]:
        """Step and seconds to go on from; a step of `None` if the phase was finished earlier."""
        if not self._path().exists():
            return 0, 0.0
        state = torch.load(self._path(), map_location=self.device, weights_only=True)
        self.finished = state["finished"]
        if state["seed"] != self.seed:
            raise SystemExit(f"{self._path()}: seed {state['seed']}, now {self.seed}; choose another --run")
        self.module.load_state_dict(state["model"])
        if name in self.finished:
            return None, 0.0
        if state["phase"] != name:
            return 0, 0.0
        if state["settings"] != asdict(phase):
            raise SystemExit(f"{self._path()}: made with {state['settings']}, now {asdict(phase)}; choose another --run")
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        if state["cuda_rng"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"].cpu())
        self.log(event="continued", phase=name, step=state["step"])
        return state["step"], state["seconds"]


def schedule(progress: float, warmup: float) -> float:
    """Share of the highest learning rate."""
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))

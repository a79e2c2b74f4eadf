"""What people build themselves: FastAPI and uvicorn around ONNX Runtime.

    onnxruntime_server.py FOLDER --port N [--batch 1|16] [--threads 2]

`POST /classify` takes `{"inputs": TEXT}` and answers `{"label": LABEL, "score": NUMBER}`; if the model is for
question answering, `POST /answer` takes `{"question": TEXT, "context": TEXT}` and answers `{"answer": TEXT, "score":
NUMBER}`. With `--batch 1` each request is a pass of its own, on one of `--threads` threads. With a larger number
the requests that wait are padded to one length and share a pass, which has all threads; nothing waits for company.
"""

import argparse
import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Encoding, Tokenizer


class Request(BaseModel):
    inputs: str


class Found(BaseModel):
    label: str
    score: float


class Question(BaseModel):
    question: str
    context: str


class Answer(BaseModel):
    answer: str
    score: float


#: Windows over a long context, and the longest answer, in tokens: those of the other servers.
WINDOW, STRIDE, LONGEST = 384, 128, 15


class Model:
    def __init__(self, folder: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads would take the processor from the other half of the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = onnxruntime.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.names = [item.name for item in self.session.get_inputs()]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        config = json.loads((folder / "config.json").read_text())
        self.answers = config["architectures"][0].endswith("ForQuestionAnswering")
        if self.answers:
            self.tokenizer.enable_truncation(WINDOW, stride=STRIDE, strategy="only_second")
        else:
            self.tokenizer.enable_truncation(512)
            self.tokenizer.enable_padding()
        self.labels = config.get("id2label", {})

    def logits(self, encoded: list[Encoding]) -> numpy.ndarray:
        values = {
            "input_ids": [item.ids for item in encoded],
            "attention_mask": [item.attention_mask for item in encoded],
            "token_type_ids": [item.type_ids for item in encoded],
        }
        given = {name: numpy.array(values[name], dtype=numpy.int64) for name in self.names}
        (logits,) = self.session.run(None, given)
        return logits

    def classify(self, texts: list[str]) -> list[Found]:
        logits = self.logits(self.tokenizer.encode_batch(texts))
        scores = numpy.exp(logits - logits.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        best = scores.argmax(-1)
        return [
            Found(label=self.labels[str(i)], score=float(row[i])) for i, row in zip(best, scores, strict=True)
        ]

    def answer(self, questions: list[Question]) -> list[Answer]:
        """Takes the best span of all windows, as `transformers` does."""
        encoded = self.tokenizer.encode_batch([(one.question, one.context) for one in questions])
        windows = [(i, window) for i, first in enumerate(encoded) for window in (first, *first.overflowing)]
        for _, window in windows:
            window.pad(max(len(window.ids) for _, window in windows))
        best = [Answer(answer="", score=0.0)] * len(questions)
        for (i, window), (start, end) in zip(windows, self.logits([w for _, w in windows]), strict=True):
            inside = numpy.array([number == 1 for number in window.sequence_ids])
            start, end = (numpy.where(inside, row, -numpy.inf) for row in (start, end))
            start, end = (
                numpy.exp(row - row.max()) / numpy.exp(row - row.max()).sum() for row in (start, end)
            )
            spans = numpy.tril(numpy.triu(numpy.outer(start, end)), LONGEST - 1)
            first, last = numpy.unravel_index(spans.argmax(), spans.shape)
            if spans[first, last] > best[i].score:
                text = questions[i].context[window.offsets[first][0] : window.offsets[last][1]]
                best[i] = Answer(answer=text, score=float(spans[first, last]))
        return best


class OneByOne:
    """Each request is a pass of its own."""

    def __init__(self, run: Callable[[list[Any]], list[Any]], workers: int) -> None:
        self.run, self.pool = run, ThreadPoolExecutor(workers)

    async def __call__(self, request: Any) -> Any:
        (found,) = await asyncio.get_running_loop().run_in_executor(self.pool, self.run, [request])
        return found


class InBatches:
    """Requests that wait share a pass."""

    def __init__(self, run: Callable[[list[Any]], list[Any]], most: int) -> None:
        self.run, self.most, self.pool = run, most, ThreadPoolExecutor(1)
        self.waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self.arrived = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def work(self) -> None:
        while True:
            await self.arrived.wait()
            batch, self.waiting[:] = self.waiting[: self.most], self.waiting[self.most :]
            if not self.waiting:
                self.arrived.clear()
            requests = [request for request, _ in batch]
            found = await asyncio.get_running_loop().run_in_executor(self.pool, self.run, requests)
            for (_, future), result in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(result)

    async def __call__(self, request: Any) -> Any:
        if not self.task:
            self.task = asyncio.create_task(self.work())
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((request, future))
        self.arrived.set()
        return await future


def routes(model: Model, batch: int, threads: int) -> FastAPI:
    app = FastAPI()

    def serve(run: Callable[[list[Any]], list[Any]]) -> OneByOne | InBatches:
        return OneByOne(run, threads) if batch == 1 else InBatches(run, batch)

    if model.answers:
        answers = serve(model.answer)

        @app.post("/answer")
        async def answer(request: Question) -> Answer:
            return await answers(request)

    else:
        labels = serve(model.classify)

        @app.post("/classify")
        async def classify(request: Request) -> Found:
            return await labels(request.inputs)

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    model = Model(args.folder, 1 if args.batch == 1 else args.threads)
    app = routes(model, args.batch, args.threads)
    uvicorn.run(
        app, host="127.0.0.1", port=args.port, access_log=False, log_level="warning", timeout_keep_alive=60
    )


if __name__ == "__main__":
    main()

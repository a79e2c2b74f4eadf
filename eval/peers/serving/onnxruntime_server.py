"""What people build themselves: FastAPI and uvicorn around ONNX Runtime.

    onnxruntime_server.py FOLDER --port N [--batch 1|16] [--threads 2]

`POST /classify` takes `{"inputs": TEXT}` and answers `{"label": LABEL, "score": NUMBER}`. With `--batch 1`
each request is a pass of its own, on one of `--threads` threads. With a larger number the texts that wait are
padded to one length and share a pass, which has all threads; nothing waits for company.
"""

import argparse
import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from tokenizers import Tokenizer


class Request(BaseModel):
    inputs: str


class Found(BaseModel):
    label: str
    score: float


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
        self.tokenizer.enable_truncation(512)
        self.tokenizer.enable_padding()
        self.labels = json.loads((folder / "config.json").read_text())["id2label"]

    def classify(self, texts: list[str]) -> list[Found]:
        encoded = self.tokenizer.encode_batch(texts)
        values = {
            "input_ids": [item.ids for item in encoded],
            "attention_mask": [item.attention_mask for item in encoded],
            "token_type_ids": [item.type_ids for item in encoded],
        }
        given = {name: numpy.array(values[name], dtype=numpy.int64) for name in self.names}
        (logits,) = self.session.run(None, given)
        scores = numpy.exp(logits - logits.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        best = scores.argmax(-1)
        return [
            Found(label=self.labels[str(i)], score=float(row[i])) for i, row in zip(best, scores, strict=True)
        ]


def one_by_one(model: Model, workers: int) -> FastAPI:
    app = FastAPI()
    pool = ThreadPoolExecutor(workers)

    @app.post("/classify")
    async def classify(request: Request) -> Found:
        (found,) = await asyncio.get_running_loop().run_in_executor(pool, model.classify, [request.inputs])
        return found

    return app


def in_batches(model: Model, most: int) -> FastAPI:
    app = FastAPI()
    pool = ThreadPoolExecutor(1)
    waiting: list[tuple[str, asyncio.Future[Found]]] = []
    arrived = asyncio.Event()
    tasks = []

    async def work() -> None:
        while True:
            await arrived.wait()
            batch, waiting[:] = waiting[:most], waiting[most:]
            if not waiting:
                arrived.clear()
            texts = [text for text, _ in batch]
            found = await asyncio.get_running_loop().run_in_executor(pool, model.classify, texts)
            for (_, future), result in zip(batch, found, strict=True):
                if not future.done():
                    future.set_result(result)

    @app.post("/classify")
    async def classify(request: Request) -> Found:
        if not tasks:
            tasks.append(asyncio.create_task(work()))
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        waiting.append((request.inputs, future))
        arrived.set()
        return await future

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.batch == 1:
        app = one_by_one(Model(args.folder, 1), args.threads)
    else:
        app = in_batches(Model(args.folder, args.threads), args.batch)
    uvicorn.run(
        app, host="127.0.0.1", port=args.port, access_log=False, log_level="warning", timeout_keep_alive=60
    )


if __name__ == "__main__":
    main()

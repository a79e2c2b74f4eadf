"""The servers that run.py measures: how each is started, and how it is asked for a label or an answer."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: How long a server may take until it answers.
START_S = 300.0
#: The texts of a first request, by task.
FIRST = {
    "labels": {"text": "a joy to watch"},
    "answers": {"question": "Who built it?", "context": "It was built by Ada."},
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A server. `{port}` in the command and names of texts in the body, such as `{text}`, are replaced."""

    name: str
    command: list[str]
    path: str
    body: str
    #: The keys that lead to the label or the answer in what comes back.
    found: tuple[str | int, ...]
    task: str


#: The path, the body, and where the result is.
Route = tuple[str, str, tuple[str | int, ...]]
TEXT = '{"inputs":{text}}'
QUESTION = '{"question":{question},"context":{context}}'
OURS: dict[str, Route] = {
    "labels": ("/api/v1/m/classify", TEXT, ("results", 0, "label")),
    "answers": ("/api/v1/m/answer", QUESTION, ("answers", 0, 0, "answer")),
}
ONNX: dict[str, Route] = {
    "labels": ("/classify", TEXT, ("label",)),
    "answers": ("/answer", QUESTION, ("answer",)),
}


def kinds(task: str, ours: Path, work: Path, python: str, infinity: str | None, threads: int) -> list[Kind]:
    found = [
        Kind(
            "mobilebert int8",
            [
                str(ours),
                *("--model", f"m={work / f'{task}-int8'}"),
                *("--listen", "127.0.0.1:{port}", "--threads", str(threads)),
            ],
            *OURS[task],
            task,
        )
    ]
    for name, batch in (
        ("FastAPI + ONNX Runtime int8, batch 1", 1),
        ("FastAPI + ONNX Runtime int8, dynamic", 16),
    ):
        server = [python, str(HERE / "onnxruntime_server.py"), str(work / f"{task}-onnx-int8")]
        flags = ["--port", "{port}", "--batch", str(batch), "--threads", str(threads)]
        found.append(Kind(name, server + flags, *ONNX[task], task))
    # It has no route for answers.
    if infinity and task == "labels":
        server = [infinity, "v2", "--model-id", str(work / "labels-f32"), "--served-model-name", "m"]
        flags = [
            "--engine",
            "torch",
            "--device",
            "cpu",
            "--port",
            "{port}",
            "--host",
            "127.0.0.1",
            "--no-bettertransformer",
        ]
        body = '{"model":"m","input":[{text}]}'
        found.append(
            Kind("infinity-emb f32 (torch)", server + flags, "/classify", body, ("data", 0, 0, "label"), task)
        )
    return found


class Server:
    """A server that runs. It is killed when the block ends."""

    def __init__(self, kind: Kind, threads: int) -> None:
        self.kind = kind
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [part.replace("{port}", str(self.port)) for part in kind.command]
        # No library may look for a hub, or start more threads than are given to all.
        variables = {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(threads),
            "INFINITY_ANONYMOUS_USAGE_STATS": "0",
        }
        start = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            while not self.answers():
                if self.process.poll() is not None:
                    raise RuntimeError(f"{kind.name} ended at once; run it to see why: {' '.join(command)}")
                if time.perf_counter() - start > START_S:
                    raise RuntimeError(f"{kind.name} does not answer: {' '.join(command)}")
                time.sleep(0.005)
        except BaseException:
            self.stop()
            raise
        self.ready_s = time.perf_counter() - start

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.kind.path}"

    def answers(self) -> bool:
        try:
            return bool(self.ask(FIRST[self.kind.task]))
        except OSError:
            return False

    def ask(self, texts: dict[str, str]) -> str:
        """Returns the label or the answer."""
        places = "|".join(texts)
        body = re.sub(f"{{({places})}}", lambda place: json.dumps(texts[place[1]]), self.kind.body).encode()
        request = urllib.request.Request(self.url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            found: Any = json.load(response)
        for key in self.kind.found:
            found = found[key]
        return str(found)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

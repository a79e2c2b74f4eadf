"""A server for the scripts of this folder, and what they share."""

import contextlib
import json
import os
import pathlib
import subprocess
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("SERVER", ROOT / "target/debug/mobilebert-serve")
MODELS = {
    "qa": "models/qa",
    "sentiment": "models/sentiment",
    "embed": "models/embed",
    "ner": "tests/golden/checkpoints/mobilebert-ner-f32",
    "mlm": "tests/golden/checkpoints/mobilebert-mlm-f32",
}


@contextlib.contextmanager
def server(*flags, models=MODELS, grpc=True):
    """Starts the program and gives its address, and that of gRPC."""
    command = [PROGRAM, "--listen", "127.0.0.1:0", *flags]
    command += ["--grpc-listen", "127.0.0.1:0"] if grpc else []
    for name, folder in models.items():
        command += ["--model", f"{name}={ROOT / folder}"]
    # Nobody else's settings.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOBILEBERT_")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        addresses = {}
        try:
            for line in process.stderr:
                if line.startswith("listening"):
                    what, _, address = line.strip().rpartition(" on ")
                    addresses[what] = address
                if line == "ready\n":
                    break
            else:
                raise RuntimeError("the server ended before it was ready")
            yield addresses["listening"], addresses.get("listening for gRPC"), process
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0, process.returncode


def post(address, path, body, headers=None):
    """Asks without any client, for comparison."""
    data, headers = json.dumps(body).encode(), {"content-type": "application/json", **(headers or {})}
    request = urllib.request.Request(f"http://{address}{path}", data=data, headers=headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def run(namespace, *arguments):
    """Calls all checks of a script, and says how many there were."""
    checks = [value for name, value in namespace.items() if name.startswith("check_")]
    for check in checks:
        check(*arguments)
    print(f"{pathlib.Path(namespace['__file__']).stem}: {len(checks)} passed")

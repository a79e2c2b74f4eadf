"""schemathesis: requests that the OpenAPI document allows, and such that it does not, against the real program.

It asks twice: with the document as it is served, in which models have any name, and with the names of the models
that are there, so that bodies get as far as the models. `EXAMPLES` is the number of requests of each route and
kind, and `SEED` repeats a run.
"""

import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import serving

#: Tiny models, which answer at once.
MODELS = {
    "qa": "tests/golden/checkpoints/mobilebert-f32",
    "classify": "tests/golden/checkpoints/bert-f32",
    "ner": "tests/golden/checkpoints/mobilebert-ner-f32",
    "mlm": "tests/golden/checkpoints/mobilebert-mlm-f32",
}
#: What is not checked, and why.
EXCLUDED = [
    # A document cannot say all that is checked, such as that a name is one of a model, or a text has words: what
    # it allows may be refused.
    "positive_data_acceptance",
]


def named(document):
    """Returns the document with the names of the models, and of the tasks."""
    document = copy.deepcopy(document)
    values = {"model": list(MODELS), "version": ["1"], "task": ["question-answering", "fill-mask", "ner"]}
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                parameter["schema"] = {"type": "string", "enum": values[parameter["name"]]}
    return document


def ask(address, document, examples, more):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "openapi.json"
        path.write_text(json.dumps(document))
        command = [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", f"http://{address}"]
        command += ["--checks", "all", "--exclude-checks", ",".join(EXCLUDED), "--max-examples", str(examples)]
        command += ["--continue-on-failure", "--suppress-health-check", "all", "--request-timeout", "60", *more]
        command += ["--seed", os.environ.get("SEED", "1")]
        return subprocess.run(command, cwd=folder).returncode


def main():
    examples = int(os.environ.get("EXAMPLES", "50"))
    with serving.server(models=MODELS, grpc=False) as (http, _, _):
        with urllib.request.urlopen(f"http://{http}/openapi.json") as answer:
            document = json.load(answer)
        codes = [ask(http, document, examples, sys.argv[1:]), ask(http, named(document), examples, sys.argv[1:])]
        # It still answers as it should.
        found = serving.post(http, "/api/v1/classify/classify", {"inputs": "a good film"})
        assert found["results"][0]["label"], found
    sys.exit(max(codes))


if __name__ == "__main__":
    main()

"""TLS, as Python's `ssl`, curl and gRPC's own client speak it."""

import http.client
import json
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
import tritonclient.grpc

import serving

CERTIFICATES = serving.ROOT / "crates/serve/tests/certificates"
AUTHORITY = CERTIFICATES / "authority.pem"


def connection(address, *, version=None):
    context = ssl.create_default_context(cafile=AUTHORITY)
    if version:
        context.minimum_version = context.maximum_version = version
    host, port = address.split(":")
    return http.client.HTTPSConnection("localhost", int(port), context=context, timeout=60)


def check_both_versions(address, grpc, process, folder):
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        client = connection(address, version=version)
        body = json.dumps({"inputs": "a joy to watch"})
        client.request("POST", "/api/v1/sentiment/classify", body, {"content-type": "application/json"})
        answer = client.getresponse()
        assert answer.status == 200 and json.load(answer)["results"][0]["label"] == "positive"


def check_whoever_does_not_know_the_authority_is_warned(address, grpc, process, folder):
    host, port = address.split(":")
    client = http.client.HTTPSConnection("localhost", int(port), timeout=60)
    try:
        client.request("GET", "/live")
    except ssl.SSLCertVerificationError:
        return
    raise AssertionError("the certificate is nobody's")


def check_curl(address, grpc, process, folder):
    port = address.split(":")[1]
    command = ["curl", "-sS", "--cacert", AUTHORITY, f"https://localhost:{port}/v2/health/ready"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(found.stdout) == {"ready": True}


def check_grpc(address, grpc, process, folder):
    port = grpc.split(":")[1]
    client = tritonclient.grpc.InferenceServerClient(f"localhost:{port}", ssl=True, root_certificates=str(AUTHORITY))
    text = tritonclient.grpc.InferInput("text", [1], "BYTES")
    text.set_data_from_numpy(numpy.array(["a joy to watch"], dtype=object))
    assert client.infer("sentiment", [text]).as_numpy("label")[0] == b"positive"


def check_a_signal_reads_the_certificate_again(address, grpc, process, folder):
    def shown():
        host, port = address.split(":")
        return ssl.get_server_certificate(("localhost", int(port)), ca_certs=AUTHORITY)

    before = shown()
    install(folder, "two")
    process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while shown() == before:
        assert time.monotonic() < deadline, "the certificate is still the old one"
        time.sleep(0.05)
    assert shown().split() == (CERTIFICATES / "two.pem").read_text().split()


def install(folder, name):
    for kind in ["pem", "key"]:
        shutil.copy(CERTIFICATES / f"{name}.{kind}", folder / f"server.{kind}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        install(folder, "one")
        flags = ["--tls-cert", folder / "server.pem", "--tls-key", folder / "server.key"]
        with serving.server(*flags) as (address, grpc, process):
            serving.run(globals(), address, grpc, process, folder)

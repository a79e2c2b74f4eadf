"""Traces, as OpenTelemetry's own messages read them: what they do not have is an error."""

import base64
import contextlib
import http.server
import json
import queue
import threading

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import serving

# Protobuf's JSON has bytes in base64, and OpenTelemetry's has its ids in hexadecimal digits instead.
IDS = {"traceId": 16, "spanId": 8, "parentSpanId": 8}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def in_base64(value):
    if isinstance(value, dict):
        for name, length in IDS.items():
            if name in value:
                digits = value[name]
                assert len(digits) == 2 * length and digits == digits.lower(), digits
                value[name] = base64.b64encode(bytes.fromhex(digits)).decode()
        for part in value.values():
            in_base64(part)
    if isinstance(value, list):
        for part in value:
            in_base64(part)
    return value


@contextlib.contextmanager
def collector():
    """Keeps the requests that it gets."""
    received = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces" and self.headers["content-type"] == "application/json"
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            received.put(json_format.ParseDict(in_base64(body), ExportTraceServiceRequest()))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", received
    finally:
        server.shutdown()


def spans(received, count):
    """Waits for so many spans."""
    found = []
    while len(found) < count:
        request = received.get(timeout=60)
        for resource in request.resource_spans:
            assert {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"] == "mobilebert-serve"
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def check_a_request_is_a_trace(address, received):
    body = {"inputs": ["a joy to watch", "never again"]}
    flagged = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    serving.post(address, "/api/v1/sentiment/classify", body, flagged)
    found = spans(received, 5)
    (whole,) = [span for span in found if span.kind == Span.SPAN_KIND_SERVER]
    parts = [span for span in found if span.kind == Span.SPAN_KIND_INTERNAL]
    assert whole.trace_id.hex() == TRACE and whole.parent_span_id.hex() == PARENT
    assert [part.name for part in parts] == ["parse", "queue", "pass", "finish"], parts
    for part in parts:
        assert part.trace_id == whole.trace_id and part.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= part.start_time_unix_nano <= part.end_time_unix_nano
        assert part.end_time_unix_nano <= whole.end_time_unix_nano
    assert len({span.span_id for span in found}) == 5
    values = {attribute.key: attribute.value for attribute in whole.attributes}
    assert values["http.response.status_code"].int_value == 200
    assert values["http.route"].string_value == "/api/v1/{model}/classify"
    assert values["mobilebert.inputs"].int_value == 2
    assert whole.status.code == Status.STATUS_CODE_UNSET


def check_no_texts_are_told(address, received):
    serving.post(address, "/embed", {"inputs": "secretword"}, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    found = spans(received, 5)
    assert not any("secretword" in str(span) for span in found)


if __name__ == "__main__":
    with collector() as (endpoint, received), serving.server("--trace-endpoint", endpoint) as (http_address, _, _):
        serving.run(globals(), http_address, received)

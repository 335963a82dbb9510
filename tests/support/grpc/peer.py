"""A gRPC server or client with grpcio, for tests; like peer.mjs, to cover differences between the libraries."""

import json
import sys
import threading
import time
from concurrent import futures

import grpc

options = json.loads(sys.argv[1])
COUNT = 5


def say(value):
    print(json.dumps(value), flush=True)


def pack(value):
    return json.dumps(value).encode()


class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/test.Echo/Unary":
            return grpc.unary_unary_rpc_method_handler(self.unary)
        if details.method == "/test.Echo/ServerStream":
            return grpc.unary_stream_rpc_method_handler(self.server_stream)
        if details.method == "/test.Echo/ClientStream":
            return grpc.stream_unary_rpc_method_handler(self.client_stream)
        if details.method == "/test.Echo/Both":
            return grpc.stream_stream_rpc_method_handler(self.both)
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
        return None

    def act(self, asked, context):
        context.set_trailing_metadata((("x-server", options["name"]),))
        if asked.get("hang"):
            while context.is_active():
                time.sleep(0.02)
        if asked.get("fail"):
            context.abort(list(grpc.StatusCode)[asked["fail"]], "asked for: %s" % asked["id"])

    def unary(self, request, context):
        asked = json.loads(request)
        self.act(asked, context)
        return pack({**asked, "server": options["name"], "deadline": context.time_remaining() is not None})

    def server_stream(self, request, context):
        asked = json.loads(request)
        self.act(asked, context)
        for i in range(asked["count"]):
            yield pack({"id": asked["id"], "i": i})

    def client_stream(self, requests, context):
        first = None
        total = 0
        for each in requests:
            asked = json.loads(each)
            first = first or asked
            total += asked.get("value", 0)
        self.act(first, context)
        return pack({"id": first["id"], "sum": total})

    def both(self, requests, context):
        for each in requests:
            asked = json.loads(each)
            self.act(asked, context)
            yield each


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=options.get("workers", 64)))
    server.add_generic_rpc_handlers((Echo(),))
    if "tls" in options:
        pair = tuple(open(options["tls"][each], "rb").read() for each in ("key", "cert"))
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say({"port": port})
    sys.stdin.read()
    server.stop(0)


def make_channel():
    settings = [("grpc.enable_retries", 0)]
    if "authority" in options:
        settings.append(("grpc.default_authority", options["authority"]))
        settings.append(("grpc.ssl_target_name_override", options["authority"]))
    if "ca" in options:
        credentials = grpc.ssl_channel_credentials(open(options["ca"], "rb").read())
        return grpc.secure_channel(options["address"], credentials, options=settings)
    return grpc.insecure_channel(options["address"], options=settings)


def call(channel, kind, asked, timeout=None, abort=None):
    """Returns the status code, its details, the messages and the trailers."""
    messages = []
    unary = {"Unary": channel.unary_unary, "ServerStream": channel.unary_stream}
    streams = {"ClientStream": channel.stream_unary, "Both": channel.stream_stream}
    make = {**unary, **streams}[kind]("/test.Echo/" + kind)
    request = pack(asked) if kind in unary else (pack({**asked, "value": i, "i": i}) for i in range(asked.get("count", 1)))
    metadata = tuple(options.get("metadata", {}).items())
    running = None
    try:
        if kind in ("Unary", "ClientStream"):
            running = make.future(request, timeout=timeout, metadata=metadata)
            if abort is not None:
                threading.Timer(abort, running.cancel).start()
            messages.append(json.loads(running.result()))
        else:
            running = make(request, timeout=timeout, metadata=metadata)
            if abort is not None:
                threading.Timer(abort, running.cancel).start()
            for each in running:
                messages.append(json.loads(each))
        code, details = grpc.StatusCode.OK, ""
    except grpc.FutureCancelledError:
        code, details = grpc.StatusCode.CANCELLED, ""
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
    trailers = {}
    if code != grpc.StatusCode.CANCELLED:
        trailers = {name: value for name, value in running.trailing_metadata() or () if isinstance(value, str)}
    return {"code": code.value[0], "details": details, "messages": messages, "trailers": trailers}


def fault_of(kind, asked, outcome):
    code, messages = outcome["code"], outcome["messages"]
    if "hang" in asked:
        good = code == asked["expected"]
    elif "fail" in asked:
        good = code == list(grpc.StatusCode)[asked["fail"]].value[0] and asked["id"] in outcome["details"]
    elif kind == "Unary":
        good = code == 0 and [each["id"] for each in messages] == [asked["id"]]
    elif kind == "ClientStream":
        good = code == 0 and messages[0]["sum"] == COUNT * (COUNT - 1) // 2 and messages[0]["id"] == asked["id"]
    else:
        good = code == 0 and [(each["id"], each["i"]) for each in messages] == [(asked["id"], i) for i in range(COUNT)]
    return None if good else "%s %s: %s" % (kind, asked["id"], json.dumps(outcome))


def load():
    channel = make_channel()
    counts, faults = {}, []

    def one(job):
        kind, i = job
        asked, how = {"id": "%s-%d" % (kind, i), "count": COUNT}, {}
        if i % 10 == 3:
            asked["fail"] = 5 + i % 3
        if i % 10 == 5:
            asked.update(hang=True, expected=1)
            how = {"abort": 0.2}
        if i % 10 == 7:
            asked.update(hang=True, expected=4)
            how = {"timeout": 0.3}
        outcome = call(channel, kind, asked, **how)
        counts[outcome["code"]] = counts.get(outcome["code"], 0) + 1
        fault = fault_of(kind, asked, outcome)
        if fault is not None:
            faults.append(fault)

    jobs = [(kind, i) for i in range(options["calls"]) for kind in ("Unary", "ServerStream", "ClientStream", "Both")]
    with futures.ThreadPoolExecutor(max_workers=options.get("threads", 200)) as pool:
        list(pool.map(one, jobs))
    say({"faults": faults[:5], "faulty": len(faults), "counts": counts})


def ask():
    channel = make_channel()
    for each in options["list"]:
        say(call(channel, each["kind"], each["asked"], **each.get("how", {})))


{"server": serve, "load": load, "ask": ask}[options["role"]]()

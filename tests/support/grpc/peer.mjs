// A gRPC server or client with @grpc/grpc-js, for tests: `node peer.mjs '{"role": "server", ...}'`; prints its results as lines of JSON.
// Messages are bytes with the requested behaviour of the call as JSON.

import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";

const options = JSON.parse(process.argv[2]);
const grpc = createRequire(options.modules + "/x")("@grpc/grpc-js");

const asIs = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};
function same(value) {
  return value;
}
function method(name, requestStream, responseStream) {
  return { path: `/test.Echo/${name}`, requestStream, responseStream, ...asIs };
}
const SERVICE = {
  Unary: method("Unary", false, false),
  ServerStream: method("ServerStream", false, true),
  ClientStream: method("ClientStream", true, false),
  Both: method("Both", true, true),
};
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const pack = (value) => Buffer.from(JSON.stringify(value));
const unpack = (bytes) => JSON.parse(bytes.toString());

function serve() {
  const server = new grpc.Server({ "grpc.max_concurrent_streams": options.maxStreams ?? 100 });
  const { name } = options;
  let calls = 0;
  let cancelled = 0;
  const trailers = () => {
    const metadata = new grpc.Metadata();
    metadata.set("x-server", name);
    return metadata;
  };
  const fail = (code, message) => ({ code, details: message, metadata: trailers() });
  // Requested behaviour: `fail` with a code, `hang` for ever, or an echo.
  const act = (call, asked, respond) => {
    calls++;
    call.on("cancelled", () => cancelled++);
    if (asked.hang) return;
    if (asked.fail) return respond(fail(asked.fail, `asked for: ${asked.id} \u00e9%`));
    respond(null);
  };
  const seen = (call) => ({
    deadline: call.getDeadline() !== Infinity,
    meta: call.metadata.get("x-client"),
    authority: call.getHost(),
  });
  server.addService(SERVICE, {
    Unary(call, callback) {
      const asked = unpack(call.request);
      act(
        call,
        asked,
        (error) =>
          error
            ? callback(error)
            : callback(null, pack({ ...asked, server: name, ...seen(call) }), trailers()),
      );
    },
    ServerStream(call) {
      const asked = unpack(call.request);
      act(call, asked, (error) => {
        if (error) return call.emit("error", error);
        for (let i = 0; i < asked.count; i++) call.write(pack({ id: asked.id, i }));
        call.end(trailers());
      });
    },
    ClientStream(call, callback) {
      let sum = 0;
      let first = null;
      let ended = false;
      call.on("data", (bytes) => {
        const asked = unpack(bytes);
        first ??= asked;
        sum += asked.value ?? 0;
      });
      call.on("end", () => {
        ended = true;
        // Cancelled before its first message.
        if (first === null) return callback(fail(13, "nothing was asked for"));
        act(
          call,
          first,
          (error) => error ? callback(error) : callback(null, pack({ id: first.id, sum }), trailers()),
        );
      });
      call.on("cancelled", () => ended || cancelled++);
    },
    Both(call) {
      let hangs = false;
      calls++;
      call.on("cancelled", () => cancelled++);
      call.on("data", (bytes) => {
        const asked = unpack(bytes);
        if (asked.fail) return call.emit("error", fail(asked.fail, `asked for: ${asked.id}`));
        if (asked.hang) hangs = true;
        else call.write(bytes);
      });
      call.on("end", () => hangs || call.end(trailers()));
    },
  });
  const credentials = options.tls
    ? grpc.ServerCredentials.createSsl(null, [{
      cert_chain: readFileSync(options.tls.cert),
      private_key: readFileSync(options.tls.key),
    }])
    : grpc.ServerCredentials.createInsecure();
  server.bindAsync(
    `127.0.0.1:${options.port ?? 0}`,
    credentials,
    (error, port) => say(error ? { error: String(error) } : { port }),
  );
  process.stdin.on("data", () => say({ calls, cancelled }));
  process.stdin.on("end", () => process.exit());
}

function makeClient() {
  const Client = grpc.makeGenericClientConstructor(SERVICE, "Echo");
  const credentials = options.ca
    ? grpc.credentials.createSsl(readFileSync(options.ca))
    : grpc.credentials.createInsecure();
  return new Client(options.address, credentials, {
    "grpc.enable_retries": 0,
    ...(options.authority
      ? { "grpc.default_authority": options.authority, "grpc.ssl_target_name_override": options.authority }
      : {}),
  });
}

/** One call of each kind; resolves with its status and the received messages. */
function call(client, kind, asked, { deadlineMs, abort, aborted } = {}) {
  return new Promise((resolve) => {
    const metadata = new grpc.Metadata();
    metadata.set("x-client", `client ${asked.id}`);
    if (options.metadata) {
      for (const [name, value] of Object.entries(options.metadata)) metadata.set(name, value);
    }
    const settings = deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs };
    const messages = [];
    let trailers = null;
    const over = (status) => {
      trailers = status.metadata?.getMap() ?? null;
      resolve({ code: status.code, details: status.details, messages, trailers });
    };
    const done = (_error, value) => {
      if (value) messages.push(unpack(value));
    };
    let running;
    if (kind === "Unary") running = client.Unary(pack(asked), metadata, settings, done);
    if (kind === "ClientStream") {
      running = client.ClientStream(metadata, settings, done);
      for (let i = 0; i < asked.count; i++) running.write(pack({ ...asked, value: i }));
      if (!asked.open) running.end();
    }
    if (kind === "ServerStream" || kind === "Both") {
      running = kind === "Both"
        ? client.Both(metadata, settings)
        : client.ServerStream(pack(asked), metadata, settings);
      running.on("data", (bytes) => {
        messages.push(unpack(bytes));
        // In sequence: each message responds to the previous one.
        if (kind !== "Both") return;
        if (messages.length < asked.count) running.write(pack({ ...asked, i: messages.length }));
        else running.end();
      });
      running.on("error", () => {});
      if (kind === "Both") running.write(pack({ ...asked, i: 0 }));
    }
    // The last event of a call of any kind.
    running.on("status", over);
    if (abort !== undefined) setTimeout(() => running.cancel(), abort);
    aborted?.then(() => running.cancel());
  });
}

const KINDS = ["Unary", "ServerStream", "ClientStream", "Both"];
const COUNT = 5;

/** The problem of a call's outcome; `null` if it is correct. */
function faultOf(kind, asked, outcome) {
  const { code, messages, details } = outcome;
  const wrong = (what) => `${kind} ${asked.id}: ${what}: ${JSON.stringify(outcome)}`;
  if (asked.hang) return code === asked.expected ? null : wrong(`expected ${asked.expected}`);
  if (asked.fail) return code === asked.fail && details.includes(asked.id) ? null : wrong("another failure");
  if (code !== 0) return wrong("failed");
  if (messages.some(({ id }) => id !== asked.id)) return wrong("the response of another call");
  if (kind === "Unary") return messages.length === 1 ? null : wrong("messages");
  if (kind === "ClientStream") return messages[0]?.sum === (COUNT * (COUNT - 1)) / 2 ? null : wrong("sum");
  return messages.length === COUNT && messages.every(({ i }, at) => i === at) ? null : wrong("messages");
}

/** Concurrent calls of each kind: some fail, some are aborted, some have a deadline. */
async function load() {
  const client = makeClient();
  const faults = [];
  const counts = {};
  await Promise.all(KINDS.flatMap((kind) =>
    Array.from({ length: options.calls }, async (_, i) => {
      const asked = { id: `${kind}-${i}`, count: COUNT };
      const how = {};
      if (i % 10 === 3) asked.fail = 5 + (i % 3);
      if (i % 10 === 5) {
        Object.assign(asked, { hang: true, expected: 1 });
        how.abort = 200 + (i % 100);
      }
      if (i % 10 === 7) {
        Object.assign(asked, { hang: true, expected: 4 });
        how.deadlineMs = 300 + (i % 100);
      }
      const outcome = await call(client, kind, asked, how);
      counts[outcome.code] = (counts[outcome.code] ?? 0) + 1;
      const fault = faultOf(kind, asked, outcome);
      if (fault !== null) faults.push(fault);
    })
  ));
  client.close();
  say({ faults: faults.slice(0, 5), faulty: faults.length, counts });
}

/** One hanging call of each kind; cancels them at the next line of input. */
async function hang() {
  const client = makeClient();
  const given = new Promise((resolve) => process.stdin.once("data", resolve));
  const outcomes = KINDS.map((kind) =>
    call(client, kind, { id: kind, hang: true, count: 1 }, { aborted: given })
  );
  say((await Promise.all(outcomes)).map(({ code }) => code));
  process.exit();
}

/** Calls listed by a test. */
async function ask() {
  const client = makeClient();
  for (const { kind, asked, how } of options.list) say(await call(client, kind, asked, how));
  client.close();
}

/** Sequential unary calls on several lanes until the next line of input; prints every failure. */
async function steady() {
  const client = makeClient();
  let stopped = false;
  process.stdin.on("data", () => stopped = true);
  const servers = {};
  const failures = {};
  let ok = 0;
  await Promise.all(Array.from({ length: options.lanes }, async (_, lane) => {
    for (let i = 0; !stopped; i++) {
      const id = `${lane}-${i}`;
      const { code, messages, details } = await call(client, "Unary", { id }, {});
      if (code !== 0) failures[`${code} ${details}`] = (failures[`${code} ${details}`] ?? 0) + 1;
      else if (messages[0].id !== id) failures["another's response"] = 1;
      else {
        ok++;
        servers[messages[0].server] = (servers[messages[0].server] ?? 0) + 1;
        if (ok === 100) say({ warm: true });
      }
    }
  }));
  client.close();
  say({ ok, failures, servers });
  process.exit();
}

({ server: serve, load, ask, hang, steady })[options.role]();

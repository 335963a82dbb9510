/** The program with several workers: one proxy to clients and servers, which goes on when a worker does not. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ConfigError } from "../../../lib/config/config_error.ts";
import { createHandler } from "../../../lib/server/create_handler.ts";
import { serve } from "../../../lib/server/serve.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { Gate } from "../../support/gate.ts";
import { ProgramFolder, type RunningProgram } from "../../support/program.ts";
import { rawClient } from "../../support/raw_client.ts";
import type { RawConnection } from "../../support/raw_connection.ts";
import { type Answer, askAt, readAnswer } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { shownNames } from "../../support/tls_client.ts";
import { untilTrue } from "../../support/until_still.ts";

/** What a worker does to itself when it is asked to, and says of itself. */
const FILTER = `
  export function requestFilter(request, ctx) {
    switch (ctx.target) {
      case "/pid": return new Response(String(Deno.pid));
      case "/loop": for (;;);
      case "/exit": return Deno.exit(3);
      case "/memory": for (const all = [];;) all.push(new Array(1000).fill({}));
      case "/mark": console.error("\\x1e{"); return new Response(String(Deno.pid));
      case "/forged": console.error("\\x1e" + JSON.stringify({ kind: "event", event: { kind: "callback_error", name: "forged", message: "forged", stack: null } })); break;
      case "/half": Deno.stderr.writeSync(new TextEncoder().encode("half a line")); queueMicrotask(() => { throw new Error("after half a line"); }); break;
      case "/throw": queueMicrotask(() => { throw new Error("thrown late"); });
    }
  }`;

/** A program with workers. */
class Workers implements AsyncDisposable {
  readonly #folder: ProgramFolder;
  readonly program: RunningProgram;

  private constructor(folder: ProgramFolder, args: readonly string[], flags: readonly string[]) {
    this.#folder = folder;
    this.program = folder.start(["proxy.config.ts", ...args], ["-A", ...flags]);
  }

  static async start(config: string, count = 4, args: readonly string[] = [], flags: readonly string[] = []) {
    const listen = config.includes("const listen =") ? "" : `export const listen = "127.0.0.1:0";`;
    const text = `${listen} ${config} ${FILTER}`;
    const folder = await ProgramFolder.with({ "proxy.config.ts": text });
    return new Workers(folder, ["--workers", String(count), ...args], flags);
  }

  /** Writes another configuration in place of the one that it was started with. */
  write(text: string): Promise<void> {
    return Deno.writeTextFile(`${this.#folder.path}/proxy.config.ts`, text);
  }

  async port(): Promise<number> {
    return Number((await this.program.address()).split(":").at(-1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

/** Asks by as many connections at the same time: the system spreads connections, not requests. */
function askOften(
  port: number,
  times: number,
  request?: string,
  lines?: readonly string[],
): Promise<Answer[]> {
  return Promise.all(Array.from({ length: times }, () => askAt(port, request, lines)));
}

/** How often a test asks for what comes soon, but not at once. */
const TRIES = 500;

/** Asks until that many workers have said who they are. */
async function findPids(port: number, count: number): Promise<Set<string>> {
  const pids = new Set<string>();
  for (let i = 0; i < TRIES; i++) {
    // A proxy that is full refuses some.
    for (const { status, text } of await askOften(port, 8, "GET /pid")) if (status === 200) pids.add(text);
    if (pids.size >= count) return pids;
  }
  throw new Error(`Only ${[...pids]} of ${count} workers responded`);
}

/** Asks until a connection has met the worker; the connection is kept. */
async function connectTo(port: number, pid: string): Promise<RawConnection> {
  for (let i = 0; i < TRIES; i++) {
    using stack = new DisposableStack();
    const connection = stack.use(await rawClient(port));
    await connection.write("GET /pid HTTP/1.1\r\nHost: h\r\n\r\n");
    if ((await readAnswer(connection)).text !== pid) continue;
    stack.move();
    return connection;
  }
  throw new Error(`No connection of ${TRIES} has met worker ${pid}`);
}

Deno.test("workers admit exactly what a limit allows, together", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(`
    export const upstreams = ["${upstream.address}"];
    export const limiter = { key: "header:appid", limit: 25, window: "1h" };`);
  const port = await workers.port();
  assertEquals((await findPids(port, 4)).size, 4);
  const answers = await askOften(port, 100, "GET /", ["appid: x"]);
  const admitted = answers.filter(({ status }) => status === 200).length;
  assertEquals([admitted, answers.filter(({ status }) => status === 429).length], [25, 75]);
  assertEquals(upstream.requests, 25);
});

Deno.test("workers keep servers' limits and choose by their true loads", async () => {
  await using one = new Gate();
  await using other = new Gate();
  await using workers = await Workers.start(`
    export const upstreams = {
      servers: [
        { address: "${one.upstream.address}", maxInFlight: 3 },
        { address: "${other.upstream.address}", maxInFlight: 5 },
      ],
      balance: "least-connections",
    };`);
  const port = await workers.port();
  const running: Promise<Answer>[] = [];
  // One after the other: each has reached its server before the next one comes.
  for (let i = 1; i <= 6; i++) {
    running.push(askAt(port));
    await Promise.race([one.untilWaiting(Math.ceil(i / 2)), other.untilWaiting(Math.ceil(i / 2))]);
    while (one.waiting + other.waiting < i) {
      await Promise.race([one.untilWaiting(1 + one.waiting), other.untilWaiting(1 + other.waiting)]);
    }
  }
  assertEquals([one.waiting, other.waiting], [3, 3]);
  // Two more find room, whatever workers they meet.
  running.push(askAt(port), askAt(port));
  await other.untilWaiting(5);
  const refused = await askOften(port, 12);
  assertEquals(refused.map(({ status }) => status), refused.map(() => 503));
  assertEquals([one.waiting, other.waiting], [3, 5]);
  for (let i = 0; i < 3; i++) one.answer();
  for (let i = 0; i < 5; i++) other.answer();
  assertEquals((await Promise.all(running)).map(({ status }) => status), running.map(() => 200));
});

Deno.test("workers keep the bound of the whole proxy together, and let in who waits when another has room", async () => {
  await using gate = new Gate();
  await using workers = await Workers.start(
    `
    export const upstreams = ["${gate.upstream.address}"];
    export const overload = { maxInFlight: 5, queue: { size: 3, timeout: "1h" } };`,
    2,
  );
  const port = await workers.port();
  const [one, other] = [...await findPids(port, 2)] as [string, string];
  const connections = await Promise.all(
    [one, one, one, other, other, other, other].map((pid) => connectTo(port, pid)),
  );
  using _all = { [Symbol.dispose]: () => connections.forEach((each) => each[Symbol.dispose]()) };
  const head = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
  for (const connection of connections.slice(0, 5)) await connection.write(head);
  await gate.untilWaiting(5);
  // Both of these meet a worker that has but two of the five.
  for (const connection of connections.slice(5)) await connection.write(head);
  gate.answer("first");
  await gate.untilWaiting(5);
  assertEquals(gate.upstream.requests, 6);
  for (let i = 0; i < 5; i++) gate.answer("next");
  await gate.untilWaiting(1);
  gate.answer("last");
  const texts = await Promise.all(connections.map(async (each) => (await readAnswer(each)).text));
  assertEquals(texts.toSorted(), ["first", "last", "next", "next", "next", "next", "next"]);
});

Deno.test("workers hold a queue together, of a pool and of the whole proxy", async () => {
  for (
    const options of [
      (address: string) =>
        `{ servers: [{ address: "${address}", maxInFlight: 1 }], queue: { size: 3, timeout: "1h" } }`,
      (address: string) =>
        `["${address}"]; export const overload = { maxInFlight: 1, queue: { size: 3, timeout: "1h" } }`,
    ]
  ) {
    await using gate = new Gate();
    await using workers = await Workers.start(
      `export const upstreams = ${options(gate.upstream.address)};`,
      2,
    );
    const port = await workers.port();
    const pids = [...await findPids(port, 2)];
    const connections: RawConnection[] = [];
    using _all = { [Symbol.dispose]: () => connections.forEach((each) => each[Symbol.dispose]()) };
    for (const place of [0, 0, 0, 1, 1, 1]) connections.push(await connectTo(port, pids[place]!));
    const first = askAt(port);
    await gate.untilWaiting(1);
    const statuses: number[] = [];
    const answers = connections.map(async (connection) => {
      await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      const { status } = await readAnswer(connection);
      statuses.push(status);
    });
    // Three wait, wherever they are; three are refused before anything is over.
    await untilTrue("three requests are refused", () => statuses.length === 3);
    assertEquals(statuses, [503, 503, 503]);
    for (let i = 0; i < 4; i++) {
      await gate.untilWaiting(1);
      gate.answer();
    }
    await Promise.all([first, ...answers]);
    assertEquals(statuses, [503, 503, 503, 200, 200, 200]);
  }
});

Deno.test("workers have one budget for retries, of a pool and of a route", async () => {
  await using bad = startUpstream({ handler: () => new Response(null, { status: 503 }) });
  await using workers = await Workers.start(`
    const retries = { on: [503], attempts: 2, backoff: false, budget: { percent: 0, min: 1 } };
    export const upstreams = { servers: ["${bad.address}"], ejection: false, retries };
    export const routes = [{ match: { path: "/own" }, retries }, { match: { path: "/pool" } }];`);
  const port = await workers.port();
  await findPids(port, 4);
  for (const target of ["/pool", "/own"]) {
    const before = bad.requests;
    await askOften(port, 40, `GET ${target}`);
    // Ten within ten seconds.
    assertEquals(bad.requests - before, 50, target);
  }
});

Deno.test("a worker that has ended holds no permits of clients", async () => {
  await using gate = new Gate();
  await using workers = await Workers.start(
    `
    export const upstreams = ["${gate.upstream.address}"];
    export const limiter = { key: "header:appid", algorithm: "concurrency", limit: 2, window: "1h" };`,
    2,
  );
  const port = await workers.port();
  const [dying, other] = [...await findPids(port, 2)] as [string, string];
  const connections = await Promise.all([dying, other].map((pid) => connectTo(port, pid)));
  using _all = { [Symbol.dispose]: () => connections.forEach((each) => each[Symbol.dispose]()) };
  for (const connection of connections) {
    await connection.write("GET / HTTP/1.1\r\nHost: h\r\nappid: x\r\n\r\n");
  }
  await gate.untilWaiting(2);
  assertEquals((await askAt(port, "GET /", ["appid: x"])).status, 429);
  Deno.kill(Number(dying), "SIGKILL");
  await workers.program.stderrMatch(/Worker \d listens again/);
  // The one that is left holds one of two.
  const next = askAt(port, "GET /", ["appid: x"]);
  await gate.untilWaiting(3);
  assertEquals((await askAt(port, "GET /", ["appid: x"])).status, 429);
  for (let i = 0; i < 3; i++) gate.answer("there");
  assertEquals([(await next).text, (await readAnswer(connections[1]!)).text], ["there", "there"]);
});

Deno.test("workers count together, and what one has counted that is replaced stays", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(
    `export const upstreams = ["${upstream.address}"]; export const admin = "127.0.0.1:0";`,
    2,
  );
  const port = await workers.port();
  const [, admin] = await workers.program.stderrMatch(/Admin page at http:\/\/(127\.0\.0\.1:\d+)\//);
  const read = async (name: string): Promise<number> => {
    const text = await (await fetch(`http://${admin}/metrics`)).text();
    const lines = text.split("\n").filter((line) =>
      line.startsWith(name + "{") || line.startsWith(name + " ")
    );
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  };
  // A request is counted a moment after its response.
  const countedOnce = async (over: number) => {
    for (let i = 0; i < 500 && await read("lbproxy_requests_total") < over; i++);
    return [
      await read("lbproxy_requests_received_total"),
      await read("lbproxy_requests_total"),
      await read("lbproxy_request_duration_seconds_count"),
      await read("lbproxy_upstream_requests_total"),
    ];
  };
  await askOften(port, 20);
  assertEquals(await countedOnce(20), [20, 20, 20, 20]);
  assertEquals([await read("lbproxy_workers"), await read("lbproxy_worker_restarts_total")], [2, 0]);
  await askAt(port, "GET /exit").catch(() => {});
  await workers.program.stderrMatch(/Worker \d listens again/);
  await askOften(port, 20);
  const [received, ended, , served] = await countedOnce(40);
  assertEquals([received, ended, served], [41, 40, 40]);
  assertEquals([await read("lbproxy_workers"), await read("lbproxy_worker_restarts_total")], [2, 1]);
});

Deno.test("workers let servers take turns together, by weight too", async () => {
  await using one = startUpstream("one");
  await using other = startUpstream("other");
  await using workers = await Workers.start(
    `export const upstreams = [{ address: "${one.address}", weight: 3 }, "${other.address}"];`,
  );
  const port = await workers.port();
  await findPids(port, 4);
  let asked = 0;
  for (const times of [1, 2, 3, 5, 9, 40, 84]) {
    await askOften(port, times);
    asked += times;
    // The third of each four.
    assertEquals([one.requests + other.requests, other.requests], [asked, Math.floor((asked + 1) / 4)]);
  }
});

Deno.test("workers eject a server together", async () => {
  await using bad = startUpstream({ handler: () => new Response(null, { status: 503 }) });
  await using good = startUpstream("good");
  await using workers = await Workers.start(`
    export const upstreams = {
      servers: ["${bad.address}", "${good.address}"],
      ejection: { consecutiveFailures: 6, baseTime: "1h" },
      retries: false,
    };`);
  const port = await workers.port();
  await findPids(port, 4);
  let failed = 0;
  for (let i = 0; i < 40 && failed < 6; i++) if ((await askAt(port)).status === 503) failed++;
  await workers.program.stderrMatch(/Server \S+ of pool default is ejected: 6 requests failed in a row/);
  const after = await askOften(port, 40);
  assertEquals(after.filter(({ status }) => status !== 200), []);
  assertEquals(bad.requests, 6);
});

Deno.test("workers learn of a server's health from one who checks it for all", async () => {
  let checks = 0;
  let healthy = true;
  await using server = startUpstream({
    handler: (request) => {
      if (new URL(request.url).pathname !== "/health") return new Response("first");
      checks++;
      return new Response(null, { status: healthy ? 200 : 500 });
    },
  });
  await using other = startUpstream("other");
  await using workers = await Workers.start(`
    export const upstreams = {
      servers: ["${server.address}", { address: "${other.address}", backup: true }],
      healthCheck: { type: "http", path: "/health", interval: "100ms", fall: 1, rise: 1 },
    };`);
  const port = await workers.port();
  assertEquals((await askOften(port, 20)).map(({ text }) => text), Array(20).fill("first"));
  healthy = false;
  const before = checks;
  await workers.program.stderrMatch(/Server \S+ of pool default is unhealthy/);
  assert(checks - before <= 3, `${checks - before} checks`);
  const answers = await askOften(port, 20);
  assertEquals(new Set(answers.map(({ status }) => status)), new Set([200]));
  assertEquals(answers.filter(({ text }) => text === "first").length, 0);
  healthy = true;
  await workers.program.stderrMatch(/Server \S+ of pool default is healthy/);
  assertEquals((await askOften(port, 20)).map(({ text }) => text), Array(20).fill("first"));
});

for (
  const [path, reason] of [
    ["/exit", "it ended with code 3"],
    ["/loop", "it has not responded for \\d\\.\\d s"],
    ["/memory", "it (has not responded for \\d\\.\\d s|was ended by \\S+|ended with code \\d+)"],
  ] as const
) {
  Deno.test(`a worker that is asked for ${path} is replaced, and the others go on`, async () => {
    await using gate = new Gate();
    await using workers = await Workers.start(
      `export const upstreams = { servers: [{ address: "${gate.upstream.address}", maxInFlight: 2 }] };`,
      2,
      [],
      ["--v8-flags=--max-old-space-size=150"],
    );
    const port = await workers.port();
    const [dying, other] = [...await findPids(port, 2)] as [string, string];
    using held = await connectTo(port, dying);
    using asking = await connectTo(port, dying);
    using living = await connectTo(port, other);
    await held.write("GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
    await living.write("GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
    await gate.untilWaiting(2);
    await asking.write(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
    await workers.program.stderrMatch(new RegExp(`Worker \\d restarts now: ${reason}\n`));
    await workers.program.stderrMatch(/Worker \d listens again/);
    // Its place at the server is free again.
    const next = askAt(port);
    await gate.untilWaiting(3);
    for (let i = 0; i < 3; i++) gate.answer("there");
    assertEquals([(await readAnswer(living)).text, (await next).text], ["there", "there"]);
    const pids = await findPids(port, 2);
    assert(pids.has(other) && !pids.has(dying), [...pids].join());
  });
}

Deno.test("a worker that is stopped is replaced as soon as one that loops", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(`export const upstreams = ["${upstream.address}"];`, 2);
  const port = await workers.port();
  const [stopped] = await findPids(port, 2);
  Deno.kill(Number(stopped), "SIGSTOP");
  await workers.program.stderrMatch(/Worker \d restarts now: it has not responded for 1\.2 s\n/);
  await workers.program.stderrMatch(/Worker \d listens again/);
  assertEquals((await findPids(port, 2)).has(stopped!), false);
});

Deno.test("a worker that has written what looks like a message is looked after as before", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(`export const upstreams = ["${upstream.address}"];`, 2);
  const port = await workers.port();
  const { text: pid } = await askAt(port, "GET /mark");
  // deno-lint-ignore no-control-regex
  await workers.program.stderrMatch(/\x1e\{\n/);
  Deno.kill(Number(pid), "SIGKILL");
  await workers.program.stderrMatch(/Worker \d restarts now: it was ended by SIGKILL\n/);
  await workers.program.stderrMatch(/Worker \d listens again/);
});

Deno.test("a text that a worker writes is no message to the supervisor, and hides none behind it", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(`export const upstreams = ["${upstream.address}"];`, 2);
  const port = await workers.port();
  await askAt(port, "GET /forged");
  // As a message it would be in the log in other words.
  await workers.program.stderrMatch(/\{"kind":"event","event":\{"kind":"callback_error","name":"forged".*\n/);
  await askAt(port, "GET /half");
  await workers.program.stderrMatch(/half a line/);
  await workers.program.stderrMatch(/threw: after half a line/);
});

Deno.test("an error that nobody catches ends no worker", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(`export const upstreams = ["${upstream.address}"];`, 2);
  const port = await workers.port();
  const before = await findPids(port, 2);
  assertEquals((await askAt(port, "GET /throw")).text, "a");
  await workers.program.stderrMatch(/A promise or timer of the configuration threw: thrown late/);
  assertEquals(await findPids(port, 2), before);
});

Deno.test("workers finish their requests when the program is told to stop, and make one log", async () => {
  await using gate = new Gate();
  await using workers = await Workers.start(
    `export const upstreams = ["${gate.upstream.address}"];`,
    2,
    ["--log-format", "json"],
  );
  const [, address] = await workers.program.stderrMatch(/"Listening on 127\.0\.0\.1:(\d+) \(process/);
  const port = Number(address);
  const running = askOften(port, 6, "GET /held");
  await gate.untilWaiting(6);
  workers.program.kill("SIGTERM");
  await workers.program.stderrMatch(/Stopping \(SIGTERM\)/);
  for (let i = 0; i < 6; i++) gate.answer("done");
  assertEquals((await running).map(({ text }) => text), Array(6).fill("done"));
  const { code, stdout } = await workers.program.ended;
  assertEquals(code, 0);
  const targets = stdout.trimEnd().split("\n").map((line) => JSON.parse(line).target);
  assertEquals(targets, Array(6).fill("/held"));
});

Deno.test("workers reload: connections stay open, counts go on, and what cannot be used changes nothing", async () => {
  await using one = startUpstream("one");
  await using other = startUpstream("other");
  const limiter = `export const limiter = { key: "header:appid", limit: 10, window: "1h" };`;
  const configOf = (servers: string, more = "") =>
    `export const listen = "127.0.0.1:0"; export const upstreams = ${servers}; ${limiter} ${FILTER} ${more}`;
  await using workers = await Workers.start(`export const upstreams = ["${one.address}"]; ${limiter}`);
  const port = await workers.port();
  const pids = await findPids(port, 4);
  const open = await Promise.all(Array.from(pids, (pid) => connectTo(port, pid)));
  using _open = { [Symbol.dispose]: () => open.forEach((connection) => connection[Symbol.dispose]()) };
  const ask = async () => {
    const texts: string[] = [];
    for (const connection of open) {
      await connection.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
      texts.push((await readAnswer(connection)).text);
    }
    return texts;
  };
  const limited = async () =>
    (await askOften(port, 8, "GET /", ["appid: x"])).filter(({ status }) => status === 429).length;
  assertEquals([await ask(), await limited()], [Array(4).fill("one"), 0]);
  await workers.write(configOf(`["${other.address}"]`));
  workers.program.kill("SIGHUP");
  await workers.program.stderrMatch(/Configuration 2 is in use \(SIGHUP\)/);
  assertEquals(await ask(), Array(4).fill("other"));
  // 8 of 10 have been counted before.
  assertEquals(await limited(), 6);
  // The supervisor can load it, and the workers, each of which has another number, cannot.
  await workers.write(
    configOf(
      `["${one.address}"]`,
      "if (Deno.ppid !== 0 && Deno.args[0] === '--worker-process') throw new Error('only here');",
    ),
  );
  workers.program.kill("SIGHUP");
  await workers.program.stderrMatch(/not loaded \(SIGHUP\).*only here/);
  assertEquals(await ask(), Array(4).fill("other"));
  await workers.write(configOf(`["${one.address}"]`, "export const workers = 2;"));
  workers.program.kill("SIGHUP");
  await workers.program.stderrMatch(/Configuration 3 is in use \(SIGHUP\)/);
  assertEquals(await ask(), Array(4).fill("one"));
  assertEquals(await findPids(port, 4), pids);
});

Deno.test("workers go back together to the configuration before, when a new one fails", async () => {
  await using good = startUpstream("good");
  await using bad = startUpstream({ handler: () => new Response(null, { status: 500 }) });
  await using workers = await Workers.start(`export const upstreams = ["${good.address}"];`);
  const port = await workers.port();
  const [victim] = await findPids(port, 4);
  const rollback = (minRequests: number) =>
    `export const rollback = { errorRate: 0.2, within: "1h", minRequests: ${minRequests} };`;
  const configOf = (address: string, more: string) =>
    `export const listen = "127.0.0.1:0"; export const upstreams = ["${address}"]; ${FILTER} ${more}`;
  await workers.write(configOf(bad.address, rollback(24)));
  workers.program.kill("SIGHUP");
  await workers.program.stderrMatch(/Configuration 2 is in use \(SIGHUP\)/);
  // None of the workers has seen as many as that.
  const failed = await askOften(port, 23);
  assertEquals(failed.map(({ status }) => status), Array(23).fill(500));
  // What is not loaded is written in the file by now, and the worker that is started anew serves what the others do.
  await workers.write("syntax error");
  Deno.kill(Number(victim), "SIGKILL");
  await workers.program.stderrMatch(/Worker \d listens again/);
  assertEquals((await askOften(port, 24)).length, 24);
  await workers.program.stderrMatch(
    /Rolled back to the previous configuration, as number 3: \d+ of \d+ requests failed/,
  );
  const after = await askOften(port, 40);
  assertEquals(new Set(after.map(({ text }) => text)), new Set(["good"]));
  assertEquals((await findPids(port, 4)).size, 4);
});

Deno.test("workers say once that a certificate is new, when all use it, and once that one cannot be used", async () => {
  await using files = await certificateFiles(["one.example"]);
  await using workers = await Workers.start(
    `export const upstreams = ["127.0.0.1:1"]; export const listen = { hostname: "127.0.0.1", port: 0, tls: ${
      JSON.stringify({ cert: files.cert, key: files.key })
    } };`,
    3,
  );
  const { program } = workers;
  const port = await workers.port();
  for (const name of ["two.example", "three.example"]) {
    await files.issue([name]);
    await program.stderrMatch(
      name === "two.example" ? /New certificate/ : /New certificate[^]*New certificate/,
    );
    const shown = await Promise.all(Array.from({ length: 12 }, () => shownNames(port, null)));
    assertEquals(new Set(shown), new Set([`DNS:${name}`]));
  }
  const { key } = files;
  await Deno.writeTextFile(key, "no key");
  await program.stderrMatch(/Cannot use the new certificate/);
  await files.issue(["four.example"]);
  await program.stderrMatch(/New certificate(?:[^]*New certificate){2}/);
  program.kill("SIGTERM");
  const { stderr } = await program.ended;
  assertEquals(stderr.match(/New certificate|Cannot use the new certificate/g), [
    "New certificate",
    "New certificate",
    "Cannot use the new certificate",
    "New certificate",
  ]);
});

Deno.test("one of the workers serves a socket of the file system, and so does the one in its place", async () => {
  await using upstream = startUpstream("a");
  const path = await Deno.makeTempFile();
  await Deno.remove(path);
  // The later `listen` of a module would be a second one: the folder has its own.
  await using folder = await ProgramFolder.with({
    "proxy.config.ts":
      `export const listen = ["127.0.0.1:0", "unix:${path}"]; export const upstreams = ["${upstream.address}"]; ${FILTER}`,
  });
  await using program = folder.start(["proxy.config.ts", "--workers", "3"], ["-A"]);
  const port = Number((await program.address()).split(":").at(-1));
  const askSocket = async (target: string) => {
    using connection = await Deno.connect({ transport: "unix", path });
    await connection.write(
      new TextEncoder().encode(`GET ${target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`),
    );
    const text = await new Response(connection.readable).text();
    return text.slice(text.indexOf("\r\n\r\n") + 4);
  };
  const all = await findPids(port, 3);
  const pid = await askSocket("/pid");
  assert(all.has(pid));
  assertEquals([await askSocket("/"), await askSocket("/pid")], ["a", pid]);
  Deno.kill(Number(pid), "SIGKILL");
  await program.stderrMatch(/Worker 1 listens again/);
  const next = await askSocket("/pid");
  assertEquals([all.has(next), (await findPids(port, 3)).has(next)], [false, true]);
});

Deno.test("the program ends with code 0 when a terminal interrupts it and workers that are starting", async () => {
  await using workers = await Workers.start(`export const upstreams = ["127.0.0.1:1"];`, 2);
  const { pid } = workers.program;
  const children = () => Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim();
  await untilTrue("the program has started a worker", () => children() !== "");
  workers.program.kill("SIGINT");
  for (const child of children().split(" ")) Deno.kill(Number(child), "SIGINT");
  const { code, stderr } = await workers.program.ended;
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("workers end at once with the program at a second signal", async () => {
  await using gate = new Gate();
  await using workers = await Workers.start(`export const upstreams = ["${gate.upstream.address}"];`, 2);
  const port = await workers.port();
  const pids = await findPids(port, 2);
  const running = askAt(port, "GET /held").then(() => "answered", () => "cut");
  await gate.untilWaiting(1);
  workers.program.kill("SIGTERM");
  await workers.program.stderrMatch(/Stopping \(SIGTERM\)/);
  workers.program.kill("SIGTERM");
  assertEquals((await workers.program.ended).code, 143);
  assertEquals(await running, "cut");
  await untilGone(pids);
  gate.answer();
});

Deno.test("workers end at once at a second signal, also when the admin page was asked in between", async () => {
  await using gate = new Gate();
  await using workers = await Workers.start(
    `export const upstreams = ["${gate.upstream.address}"];
     export const limiter = { limit: 1000, window: "1m", key: "ip" };`,
    2,
    ["--admin", "127.0.0.1:0"],
  );
  const [, admin] = await workers.program.stderrMatch(/Admin page at (http:\/\/\S+)\//);
  const port = await workers.port();
  const pids = await findPids(port, 2);
  const running = askAt(port, "GET /held").then(() => "answered", () => "cut");
  await gate.untilWaiting(1);
  workers.program.kill("SIGTERM");
  await workers.program.stderrMatch(/Stopping \(SIGTERM\)/);
  await (await fetch(`${admin}/status`)).body?.cancel();
  workers.program.kill("SIGTERM");
  assertEquals((await workers.program.ended).code, 143);
  assertEquals(await running, "cut");
  await untilGone(pids);
});

Deno.test("the exit code tells of a request whose worker had to be killed at the end", async () => {
  await using gate = new Gate();
  await using workers = await Workers.start(
    `export const upstreams = ["${gate.upstream.address}"]; export const gracePeriod = "100ms";`,
    2,
  );
  const port = await workers.port();
  const [pid] = [...await findPids(port, 2)] as [string];
  using connection = await connectTo(port, pid);
  await connection.write("GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
  await gate.untilWaiting(1);
  Deno.kill(Number(pid), "SIGSTOP");
  workers.program.kill("SIGTERM");
  assertEquals((await workers.program.ended).code, 1);
  await untilGone([pid]);
});

Deno.test("workers end when the process is gone that looks after them", async () => {
  await using upstream = startUpstream("a");
  await using workers = await Workers.start(`export const upstreams = ["${upstream.address}"];`, 2);
  const port = await workers.port();
  const pids = await findPids(port, 2);
  workers.program.kill("SIGKILL");
  await workers.program.ended;
  await untilGone(pids);
});

/** Waits until the processes are gone: nobody else says that they are. */
async function untilGone(pids: Iterable<string>): Promise<void> {
  let alive = [...pids];
  for (let i = 0; i < 4000 && alive.length > 0; i++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    alive = alive.filter(isAlive);
  }
  assertEquals(alive, []);
}

function isAlive(pid: string): boolean {
  try {
    return !/^State:\s+Z/m.test(Deno.readTextFileSync(`/proc/${pid}/status`));
  } catch {
    return false;
  }
}

Deno.test("lbproxy says what workers lack", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `export const upstreams = ["127.0.0.1:1"]; export const listen = "127.0.0.1:0";`,
  });
  const few = await folder.run(["--workers", "2", "--listen", "0"]);
  assertEquals(few.code, 2);
  assertMatch(
    few.stderr,
    /^Workers need --allow-run, --allow-ffi, to start processes that share memory\. Run: deno run -A \S+mod\.ts --workers 2 --listen 0\n$/,
  );
});

Deno.test("serve() and createHandler() refuse several workers, which need a module", async () => {
  const config = { upstreams: ["127.0.0.1:1"], listen: "127.0.0.1:0", workers: 2 };
  const message = /workers must be 1 here: .+ lbproxy proxy\.config\.ts --workers 2/;
  for (const start of [() => serve(config), async () => await createHandler(config)]) {
    const error = await start().then(() => null, (error) => error);
    assert(error instanceof ConfigError);
    assertMatch(error.message, message);
  }
});

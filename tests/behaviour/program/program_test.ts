/** The program as an operator meets it: a process, its output and its exit code. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { VERSION } from "../../../lib/core/version.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { testCa } from "../../support/test_ca.ts";
import { MAIN, ProgramFolder } from "../../support/program.ts";
import { rawClient } from "../../support/raw_client.ts";
import { askAt, readAnswer } from "../../support/start_proxy.ts";
import { upgradeHead } from "../../support/test_web_socket.ts";
import { untilRefused } from "../../support/until_refused.ts";

/** A configuration that listens at a free port. */
function configFor(upstream: string, more = ""): string {
  return `export const listen = "127.0.0.1:0"; export const upstreams = ["${upstream}"]; ${more}`;
}

Deno.test("lbproxy --help and --version answer and exit 0", async () => {
  await using folder = await ProgramFolder.with({});
  const help = await folder.run(["--help"], []);
  assertEquals([help.code, help.stderr], [0, ""]);
  for (const part of ["Usage: lbproxy [proxy.config.ts]", "--listen ADDR", "Exit codes:"]) {
    assert(help.stdout.includes(part), part);
  }
  assertEquals(await folder.run(["--version"], []), { code: 0, stdout: `lbproxy ${VERSION}\n`, stderr: "" });
});

Deno.test("lbproxy exits 2 with one line for every mistake of its operator", async () => {
  await using folder = await ProgramFolder.with({
    "syntax.ts": "export const a = ;",
    "throws.ts": "throw new Error('no');",
    "bad.ts": `export const upstreams = ["foo"];`,
  });
  const cases: readonly [args: readonly string[], stderr: string][] = [
    [["--lisen", "1"], "Unknown option --lisen, did you mean --listen?"],
    [[], "Cannot load proxy.config.ts: there is no such file; lbproxy --init writes one"],
    [["."], "Cannot load .: it is a directory"],
    [["syntax.ts"], "Cannot load syntax.ts: syntax error: Expression expected (line 1, column 18)"],
    [["throws.ts"], "Cannot load throws.ts: it threw an error: no (line 1, column 7)"],
    [["bad.ts"], 'Cannot load bad.ts: upstreams[0] must be "host:port", received "foo"'],
    [["bad.ts", "--check"], 'Cannot load bad.ts: upstreams[0] must be "host:port", received "foo"'],
  ];
  for (const [args, stderr] of cases) {
    assertEquals(await folder.run(args), { code: 2, stdout: "", stderr: `${stderr}\n` });
  }
});

Deno.test("lbproxy --check shows what a configuration means without starting it", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const upstreams = ["a.example:80"];
      export const limiter = { key: "header:appid", limit: 1, window: "1s" };`,
  });
  const { code, stdout, stderr } = await folder.run(["--check", "--listen", "[::1]:99"], ["--allow-read"]);
  assertEquals([code, stderr], [0, ""]);
  assert(stdout.startsWith("No problems in proxy.config.ts\n\nlisten    [::1]:99\n"), stdout);
  assert(stdout.includes("\n  at most 1 request per 1s for each header appid\n"), stdout);
});

Deno.test("lbproxy --check says which permissions a configuration needs, and lists those that are missing", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = "127.0.0.1:0";
      export const upstreams = ["127.0.0.1:9", "[::1]:9"];
      export const admin = "unix:/run/admin.sock";
      export const accessLog = { to: { file: "access.log" } };
      export const workers = 2;`,
  });
  const linesOf = async (permissions: readonly string[]) => {
    const { code, stdout, stderr } = await folder.run(["--check"], permissions);
    assertEquals([code, stderr], [0, ""]);
    const lines = stdout.trimEnd().split("\n");
    return lines.slice(lines.findIndex((line) => line.startsWith("needs")));
  };
  const needs = "needs     --allow-ffi --allow-net --allow-read --allow-run --allow-write";
  assertEquals(await linesOf(["-A"]), [needs]);
  assertEquals(await linesOf([`--allow-read=${folder.path}`, "--allow-net=127.0.0.1", "--allow-run"]), [
    needs,
    "lacks     --allow-net=[::1]:9 for pool default",
    "          --allow-write=access.log for accessLog",
    "          --allow-net=unix:/run/admin.sock --allow-read=/run/admin.sock --allow-write=/run/admin.sock for admin",
    "          --allow-net --allow-read --allow-ffi for workers",
  ]);
});

Deno.test("lbproxy --check finds an access log that cannot be opened", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const upstreams = ["127.0.0.1:9"];
      export const accessLog = { to: { file: Deno.readTextFileSync("name") } };`,
    "file": "",
  });
  const cases = [
    ["missing/access.log", '"missing/access.log" is in the folder "missing", which does not exist'],
    ["file/access.log", '"file/access.log" is in "file", which is no folder'],
    [folder.path, `"${folder.path}" is a folder`],
  ];
  for (const [name, problem] of cases) {
    await Deno.writeTextFile(`${folder.path}/name`, name!);
    assertEquals(await folder.run(["--check"]), {
      code: 2,
      stdout: "",
      stderr: `Cannot load proxy.config.ts: accessLog.to.file ${problem}\n`,
    });
  }
  for (const name of ["access.log", "file"]) {
    await Deno.writeTextFile(`${folder.path}/name`, name);
    assertEquals((await folder.run(["--check"])).code, 0);
  }
});

Deno.test("lbproxy warns of what is allowed and cannot be meant, with --check and at the start", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configFor(
      "127.0.0.1:1",
      `export const routes = [{ name: "all" }, { match: { path: "/a" } }];
       export const limiter = { key: "ip", limit: 1, window: 60 };`,
    ),
  });
  const warnings = [
    'limiter.window is 60 milliseconds; write "60s" for seconds, or "60ms" if that is meant',
    "routes[1] (/a) is never reached: routes[0] (all) matches every request; put it in front of that",
    "server 127.0.0.1:1 of pool default is this proxy itself, which listens at 127.0.0.1:1: its requests come back",
  ];
  const checked = await folder.run(["--check", "--listen", "127.0.0.1:1"]);
  assertEquals([checked.code, checked.stderr], [0, ""]);
  assertEquals(checked.stdout.split("\n").slice(0, 5), [
    "No errors in proxy.config.ts, but 3 warnings:",
    ...warnings.map((each) => `  ${each}`),
    "",
  ]);
  await using started = folder.start([]);
  await started.address();
  started.kill("SIGTERM");
  const { code, stderr } = await started.ended;
  assertEquals(code, 0);
  assertEquals(
    stderr.match(/ warn .*/g),
    warnings.slice(0, 2).map((each) => ` warn The configuration: ${each}`),
  );
});

Deno.test("lbproxy --check reads certificates and keys, and exits 2 when they do not fit", async () => {
  const ca = await testCa();
  const [own, other] = [await ca.issue({ names: ["a.example"] }), await ca.issue({ names: ["b.example"] })];
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = { port: 0, tls: { cert: "cert.pem", key: "key.pem" } };
      export const upstreams = ["a.example:80"];`,
    "cert.pem": own.cert,
    "key.pem": other.key,
  });
  assertEquals(await folder.run(["--check"]), {
    code: 2,
    stdout: "",
    stderr: "Cannot load proxy.config.ts: listen.tls.key is not the key of listen.tls.cert\n",
  });
  await Deno.writeTextFile(`${folder.path}/key.pem`, own.key);
  // It opens no socket for that where it may not.
  for (const permissions of [undefined, ["--allow-read"]]) {
    const { code, stdout } = await folder.run(["--check"], permissions);
    assertEquals(code, 0);
    assertMatch(stdout, /\nlisten\.tls: certificate of a\.example ends \d{4}-\d\d-\d\d \d\d:\d\d UTC\n/);
  }
  // Where the command line says where to listen, the files are of no interest.
  await Deno.remove(`${folder.path}/key.pem`);
  assertEquals((await folder.run(["--check", "--listen", "127.0.0.1:0"])).code, 0);
});

Deno.test("lbproxy --check tells of certificates and of other options at once", async () => {
  const ca = await testCa();
  const [own, other] = [await ca.issue({ names: ["a.example"] }), await ca.issue({ names: ["b.example"] })];
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = { port: 0, tls: { cert: "cert.pem", key: "key.pem" } };
      export const upstreams = ["a.example:80"];
      export const gracePeriod = "soon";`,
    "cert.pem": own.cert,
    "key.pem": other.key,
  });
  const { code, stderr } = await folder.run(["--check"]);
  assertEquals(code, 2);
  assertMatch(stderr, /^Cannot load proxy\.config\.ts: 2 problems\n {2}gracePeriod .*"soon"/);
  assertMatch(stderr, /\n {2}listen\.tls\.key is not the key of listen\.tls\.cert\n/);
  // An option that is wrong itself names no files, and the command line may say where to listen.
  const listening = await folder.run(["--check", "--listen", "127.0.0.1:0"]);
  assertEquals([listening.code, /is not the key/.test(listening.stderr)], [2, false]);
  await Deno.writeTextFile(
    `${folder.path}/proxy.config.ts`,
    `export const listen = { port: 0, tls: { cert: "cert.pem" } };
     export const upstreams = ["a.example:80"];`,
  );
  assertEquals((await folder.run(["--check"])).code, 2);
});

Deno.test("lbproxy tells of exports that nothing reads, with --check and at the start", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configFor("127.0.0.1:1", "export const helper = 1; export const PORT = 2;"),
  });
  const notices = ["PORT", "helper"].map((name) =>
    `The export "${name}" is not used: it is not a configuration key`
  );
  const checked = await folder.run(["--check"]);
  assertEquals([checked.code, checked.stderr], [0, ""]);
  assertEquals(checked.stdout.split("\n").slice(0, 4), ["No problems in proxy.config.ts", ...notices, ""]);
  await using started = folder.start(["--listen", "127.0.0.1:0"]);
  for (const notice of notices) await started.stderrMatch(new RegExp(` warn ${notice}\\n`));
  await started.address();
  started.kill("SIGTERM");
  assertEquals((await started.ended).code, 0);
});

Deno.test("lbproxy --listen treats fields as the listeners in whose place it is", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      export const listen = [{ port: 1, underscores: "pass" }, { port: 2, redirect: "https" }];
      export const upstreams = ["a.example:80"];
      export const limiter = { key: "header:app_id", limit: 1, window: "1s" };`,
  });
  const { code, stdout } = await folder.run(["--check", "--listen", "[::1]:99"], ["--allow-read"]);
  assertEquals([code, stdout.split("\n")[2]], [
    0,
    "listen    [::1]:99, passes underscores in names of fields",
  ]);
});

Deno.test("lbproxy --engine takes the place of that of every listener, unless that cannot do what is asked of it", async () => {
  await using folder = await ProgramFolder.with({
    "plain.ts": `
      export const listen = [{ port: 1 }, { port: 2, timeouts: { head: "10s" } }];
      export const upstreams = ["a.example:80"];`,
    "limits.ts": `
      export const listen = [{ port: 1 }, { port: 2, timeouts: { head: "5s" } }];
      export const upstreams = ["a.example:80"];`,
  });
  const check = async (...args: string[]) => {
    const { code, stdout, stderr } = await folder.run(["--check", ...args], ["--allow-read"]);
    return [code, stdout.match(/^listen .*$/gm) ?? stderr];
  };
  assertEquals(await check("plain.ts", "--engine", "deno"), [0, [
    "listen    0.0.0.0:1, by the runtime's server",
    "listen    0.0.0.0:2, by the runtime's server",
  ]]);
  assertEquals(await check("limits.ts", "--engine", "http1"), [0, [
    "listen    0.0.0.0:1",
    "listen    0.0.0.0:2, head within 5s",
  ]]);
  assertEquals(await check("limits.ts", "--engine", "deno"), [
    2,
    '--engine must not be "deno" at 0.0.0.0:2: it cannot limit clients (head within 5s)\n',
  ]);
});

Deno.test("lbproxy takes a configuration that imports the very module that is running", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": `
      import { defineConfig } from "${MAIN.href}";
      export default defineConfig({ upstreams: ["a.example:80"] });`,
  });
  const { code, stderr } = await folder.run(["--check"]);
  assertEquals([code, stderr], [0, ""]);
});

Deno.test("lbproxy names the flag of a permission that it lacks", async () => {
  await using folder = await ProgramFolder.with({ "proxy.config.ts": configFor("127.0.0.1:1") });
  const noRead = await folder.run([], ["--allow-net"]);
  assertEquals([noRead.code, noRead.stderr.split("\n").length], [2, 2]);
  assertMatch(noRead.stderr, /^Cannot load proxy\.config\.ts: it requires read access to .*--allow-read/);
  const noNet = await folder.run([], ["--allow-read"]);
  assertEquals([noNet.code, noNet.stderr.split("\n").length], [1, 2]);
  assertMatch(noNet.stderr, /^Cannot listen at .*--allow-net/);
  const socket = `unix:${folder.path}/a.sock`;
  const noWrite = await folder.run(["--listen", socket], ["--allow-net", "--allow-read"]);
  assertMatch(noWrite.stderr, /^Cannot listen at .*a\.sock: run with --allow-write\n$/);
  const only = `--allow-read=${folder.path}/proxy.config.ts`;
  const nothing = await folder.run(["--listen", socket], [only]);
  assertMatch(nothing.stderr, /a\.sock: run with --allow-net, --allow-read, --allow-write\n$/);
});

Deno.test("lbproxy exits 1 with one line when the address is in use", async () => {
  await using upstream = startUpstream();
  await using folder = await ProgramFolder.with({ "proxy.config.ts": configFor("127.0.0.1:1") });
  const { code, stdout, stderr } = await folder.run(["--listen", upstream.address]);
  assertEquals({ code, stdout, stderr }, {
    code: 1,
    stdout: "",
    stderr: `Cannot listen at ${upstream.address}: the address is in use\n`,
  });
});

Deno.test("lbproxy proxies, logs a line a request, and exits 0 at SIGINT", async () => {
  await using upstream = startUpstream("hello");
  // The runtime has a notice for whoever looks at the signal, which is none of the operator's business.
  const signal = "export function requestFilter(request) { request.signal.aborted; }";
  await using folder = await ProgramFolder.with({ "proxy.config.js": configFor(upstream.address, signal) });
  await using program = folder.start(["proxy.config.js", "--log-format", "text"]);
  const address = await program.address();
  const response = await fetch(`http://${address}/path?x=%22`);
  assertEquals(await response.text(), "hello");
  await program.stdoutMatch(
    / access GET "\/path\?x=%22" 200 [\d.]+ms client=127\.0\.0\.1 server=127\.0\.0\.1:\d+ bytes=5 /,
  );
  program.kill("SIGINT");
  const { code, stdout, stderr } = await program.ended;
  assertEquals([code, stdout.split("\n").length], [0, 2]);
  assertEquals(stderr.split("\n").map((line) => line.slice(25)), [
    `info Listening on ${address} (process ${program.pid})`,
    "info Stopping (SIGINT): no request is running",
    "info Stopped: all requests finished",
    "",
  ]);
});

Deno.test("lbproxy finishes running requests at SIGTERM, and logs them", async () => {
  const arrived = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async () => {
      arrived.resolve();
      await answer.promise;
      return new Response("late");
    },
  });
  await using folder = await ProgramFolder.with({ "proxy.config.ts": configFor(upstream.address) });
  await using program = folder.start(["--log-format", "json"]);
  const [, address] = await program.stderrMatch(/"addresses":\["([^"]+)"\]/);
  const response = fetch(`http://${address}/slow`, { headers: { connection: "close" } });
  await arrived.promise;
  program.kill("SIGTERM");
  await program.stderrMatch(/Stopping \(SIGTERM\): 1 running request may take 30s/);
  answer.resolve();
  assertEquals(await (await response).text(), "late");
  const { code, stdout, stderr } = await program.ended;
  assertEquals(code, 0);
  const { status, target, bytes } = JSON.parse(stdout);
  assertEquals([status, target, bytes], [200, "/slow", 4]);
  const events = stderr.trim().split("\n").map((line) => JSON.parse(line).kind);
  assertEquals(events, ["listening", "shutdown", "stopped"]);
});

Deno.test("lbproxy leaves its addresses to a successor at once at SIGTERM, whoever is still connected", async () => {
  const arrived = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async (request) => {
      if (request.headers.has("upgrade")) return Deno.upgradeWebSocket(request, { idleTimeout: 0 }).response;
      if (request.method === "PUT") return new Response(await request.text());
      if (!request.url.endsWith("/slow")) return new Response("quick");
      arrived.resolve();
      await answer.promise;
      return new Response("slow");
    },
  });
  await using certificate = await certificateFiles(["localhost"]);
  const config = `
    const tls = ${JSON.stringify({ cert: certificate.cert, key: certificate.key })};
    export const listen = ["127.0.0.1:0", { hostname: "127.0.0.1", port: 0, tls }];
    export const upstreams = ["${upstream.address}"];
    export const gracePeriod = "1h";
    export const webSocketGrace = "100ms";
    export const filters = [{
      requestFilter: ({ method }) => method === "POST" ? new Response("no", { status: 403 }) : undefined,
    }];`;
  await using folder = await ProgramFolder.with({ "proxy.config.js": config });
  await using program = folder.start(["proxy.config.js"]);
  const [, address, tlsAddress] = await program.stderrMatch(/Listening on (\S+), (\S+) \(/);
  const [port, tlsPort] = [address!, tlsAddress!].map((each) => Number(each.split(":")[1])) as [
    number,
    number,
  ];
  using slow = await rawClient(port);
  await slow.write("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
  await arrived.promise;
  using half = await rawClient(port);
  await half.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc");
  assertEquals((await readAnswer(half)).status, 403);
  using web = await rawClient(port);
  await web.write(upgradeHead());
  await web.readHead();
  using upload = await rawClient(port);
  await upload.write("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
  // Says nothing, not even what a TLS handshake begins with.
  using silent = await rawClient(tlsPort);
  program.kill("SIGTERM");
  await untilRefused(port);
  await untilRefused(tlsPort);
  // A frame of closing with the code 1001 (RFC 6455 section 5.5.1).
  const [frame, , ...code] = await web.readExactly(4);
  assertEquals([frame, code], [0x88, [1001 >> 8, 1001 & 255]]);
  await using successor = folder.start(["proxy.config.js", "--listen", address!]);
  await successor.address();
  assertEquals((await askAt(port)).text, "quick");
  await upload.write("def");
  assertEquals((await readAnswer(upload)).text, "abcdef");
  answer.resolve();
  assertEquals((await readAnswer(slow)).text, "slow");
  assertEquals((await program.ended).code, 0);
  assertMatch((await program.ended).stderr, /Stopped: all requests finished/);
  assertEquals(silent.closed, false);
});

for (const [signal, code] of [["SIGTERM", 143], ["SIGINT", 130]] as const) {
  Deno.test(`lbproxy ends at once at a second signal, with ${code} at ${signal}`, async () => {
    const arrived = Promise.withResolvers<void>();
    const never = Promise.withResolvers<Response>();
    await using upstream = startUpstream({
      handler: () => {
        arrived.resolve();
        return never.promise;
      },
    });
    await using folder = await ProgramFolder.with({ "proxy.config.ts": configFor(upstream.address) });
    await using program = folder.start([]);
    const failed = fetch(`http://${await program.address()}/`).then(() => false, () => true);
    await arrived.promise;
    program.kill("SIGTERM");
    await program.stderrMatch(/Stopping \(SIGTERM\): 1 running request/);
    program.kill(signal);
    assertEquals([(await program.ended).code, await failed], [code, true]);
    never.resolve(new Response());
  });
}

Deno.test("lbproxy outlives an error that its configuration does not catch", async () => {
  await using upstream = startUpstream("hello");
  const stray = `
    export function requestFilter(request) {
      if (request.url.endsWith("/reject")) Promise.reject(new Error("stray"));
      if (request.url.endsWith("/throw")) queueMicrotask(() => { throw new Error("thrown"); });
    }`;
  await using folder = await ProgramFolder.with({ "proxy.config.js": configFor(upstream.address, stray) });
  await using program = folder.start(["proxy.config.js"]);
  const address = await program.address();
  for (const path of ["/reject", "/throw", "/"]) {
    assertEquals(await (await fetch(`http://${address}${path}`)).text(), "hello");
  }
  await program.stderrMatch(/error A promise or timer of the configuration threw: stray\n {4}Error: stray\n/);
  await program.stderrMatch(/threw: thrown\n/);
  program.kill("SIGTERM");
  assertEquals((await program.ended).code, 0);
});

Deno.test("lbproxy simulate prints a table, or JSON, and exits 0", async () => {
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configFor(
      "127.0.0.1:9",
      `export const limiter = { key: "header:appid", limit: 1, window: "1s" };`,
    ),
    "trace.jsonl": [0, 500, 1000].map((at) => JSON.stringify({ at, headers: { appid: "x" } })).join("\n"),
  });
  const shown = await folder.run(["simulate", "proxy.config.ts", "trace.jsonl"]);
  assertEquals([shown.code, shown.stderr], [0, ""]);
  assert(shown.stdout.startsWith("3 requests in 1.000s: 2 admitted, 1 refused (33.3 %)\n"), shown.stdout);
  const { stdout } = await folder.run(["simulate", "proxy.config.ts", "trace.jsonl", "--json"]);
  assertEquals(JSON.parse(stdout).refusals, [{ atMs: 500, policy: "default", key: "x", retryAfterMs: 500 }]);
  const made = await folder.run([
    "simulate",
    "proxy.config.ts",
    "--rate",
    "10/s",
    "--keys",
    "2",
    "--for",
    "5s",
  ]);
  assertMatch(made.stdout, /^\d+ requests in 4\.\d+s: \d+ admitted, \d+ refused/);
  await Deno.writeTextFile(
    `${folder.path}/access.jsonl`,
    JSON.stringify({
      time: "2026-01-01T00:00:00Z",
      kind: "access",
      method: "GET",
      target: "/",
      client: "192.0.2.1",
    }),
  );
  const unseen = await folder.run(["simulate", "proxy.config.ts", "access.jsonl"]);
  assertMatch(
    unseen.stdout,
    /\n\nAll requests have no key for policy default \(header:appid\): not limited by it\n$/,
  );
  assertEquals(await folder.run(["simulate", "proxy.config.ts", "none.jsonl"]), {
    code: 2,
    stdout: "",
    stderr: "Cannot replay none.jsonl: there is no such file\n",
  });
});

Deno.test("SIGHUP and SIGUSR2 do not end a program that still loads its configuration, and SIGHUP loads it again", async () => {
  await using upstream = startUpstream("a");
  await using folder = await ProgramFolder.with({
    "proxy.config.ts": configFor(
      upstream.address,
      `
      console.error("loads the first");
      await new Promise((resolve) => setTimeout(resolve, 500));`,
    ),
  });
  await using program = folder.start(["proxy.config.ts"]);
  await program.stderrMatch(/loads the first\n/);
  await Deno.writeTextFile(
    `${folder.path}/proxy.config.ts`,
    configFor(
      upstream.address,
      `
    console.error("loads the second");`,
    ),
  );
  program.kill("SIGUSR2");
  program.kill("SIGHUP");
  await program.address();
  await program.stderrMatch(/loads the second\n/);
});

Deno.test("--demo-load sends requests to a listener of any kind", async () => {
  await using upstream = startUpstream("a");
  await using files = await certificateFiles(["*.demo.example"]);
  const certificate = `{ cert: "${files.cert}", key: "${files.key}", names: ["*.demo.example"] }`;
  const places = [
    `{ hostname: "127.0.0.1", port: 0, tls: { certificates: [${certificate}], unknownNames: "refuse" } }`,
    `"unix:" + import.meta.dirname + "/demo.sock"`,
    `[{ hostname: "127.0.0.1", port: 0, redirect: "https" }, "127.0.0.1:0"]`,
  ];
  for (const listen of places) {
    await using folder = await ProgramFolder.with({
      "proxy.config.ts": `export const upstreams = ["${upstream.address}"]; export const listen = ${listen};`,
    });
    await using program = folder.start(["--demo-load"], ["-A"]);
    await program.stdoutMatch(/access GET "\/\S*" 200/);
  }
});

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Io, StopSignal } from "../../../lib/cli/io.ts";
import { AdminClient, AdminError } from "../../../lib/cli/admin_client.ts";
import { main } from "../../../lib/cli/main.ts";
import { ADMIN, TOKEN } from "../../support/admin_client.ts";
import { certificateFiles } from "../../support/certificate_files.ts";
import { deadPort } from "../../support/dead_port.ts";
import { MemorySink } from "../../support/memory_sink.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";

/** The outside of a program that runs in the process of the test. */
class TestIo implements Io {
  readonly stdout = new MemorySink();
  readonly stderr = new MemorySink();
  readonly colored = true;
  readonly #size: { columns: number; rows: number } | null;
  stop: (signal: StopSignal) => void = () => {};

  constructor(size: { columns: number; rows: number } | null = null) {
    this.#size = size;
  }

  terminal(): { columns: number; rows: number } | null {
    return this.#size;
  }

  onStopSignal(callback: (signal: StopSignal) => void): Disposable {
    this.stop = callback;
    return { [Symbol.dispose]: () => {} };
  }

  onSignal(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }

  onStrayError(): Disposable {
    return { [Symbol.dispose]: () => {} };
  }

  exit(): void {}
}

/** Runs a command; gives its exit code and what it wrote. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const io = new TestIo();
  const code = await main(args, io);
  return { code, out: io.stdout.text, err: io.stderr.text };
}

Deno.test("lbproxy ctl changes what it is told to, and says what it has done", async () => {
  await using one = startUpstream("one");
  await using two = startUpstream("two");
  const limiter = { name: "app", key: "header:appid", limit: 100, window: "1h" } as const;
  await using proxy = await startProxy({
    upstreams: { api: { servers: [one.address] }, default: [two.address] },
    limiter,
    admin: ADMIN,
  });
  const pool = proxy.server.pools.get("api")!;
  const ctl = (...args: string[]) =>
    run("ctl", ...args, "--admin", proxy.server.adminAddress!, "--token", TOKEN);
  assertEquals(await ctl("drain", "api", one.address), {
    code: 0,
    out: `Done: drain server ${one.address} of pool api\n`,
    err: "",
  });
  assertEquals(pool.server(one.address)?.draining, true);
  await ctl("ready", "api", one.address);
  assertEquals(pool.server(one.address)?.eligible, true);
  await ctl("weight", "api", one.address, "4");
  assertEquals(pool.server(one.address)?.weight, 4);
  await ctl("add", "api", two.address, "--weight", "2");
  assertEquals(pool.server(two.address)?.weight, 2);
  await ctl("remove", "api", one.address);
  assertEquals(pool.servers.map(({ id }) => id), [two.address]);
  await ctl("ban", "app", "me", "1m");
  assertEquals((await proxy.ask("GET /", ["appid: me"])).status, 429);
  assertMatch((await ctl("keys", "app")).out, /0 of 100 {2}me {2}banned for (?:1m|59s)/);
  await ctl("reset", "app", "me");
  assertEquals((await proxy.ask("GET /", ["appid: me"])).status, 200);
  assertEquals(JSON.parse((await ctl("ready", "api", two.address, "--json")).out), {
    done: `ready server ${two.address} of pool api`,
  });
  assertMatch((await ctl("config")).out, /^limit +app$/m);
});

Deno.test("lbproxy ctl status and top show the same in a terminal and as lines", async () => {
  await using upstream = startUpstream();
  const dead = `127.0.0.1:${deadPort()}`;
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address, dead], healthCheck: { type: "tcp", interval: "1h" } },
    admin: ADMIN,
  });
  const admin = ["--admin", proxy.server.adminAddress!];
  const { out } = await run("ctl", "status", ...admin);
  assertMatch(out, /^lbproxy \S+ {2}serving {2}127/);
  assertMatch(out, new RegExp(`^  up +${upstream.address} `, "m"));
  assertMatch(out, new RegExp(`^  unhealthy +${dead} .*refused`, "mi"));
  assert(!out.includes("\x1b"));
  assertEquals(JSON.parse((await run("ctl", "status", "--json", ...admin)).out).state, "serving");

  const lines = (await run("top", "--count", "2", ...admin)).out.split("\n");
  assertEquals(lines.length, 3);
  assertMatch(lines[1]!, new RegExp(`^\\S+Z serving requests=\\S+/s .* up=1/2 down=${dead}$`));

  const io = new TestIo({ columns: 60, rows: 10 });
  assertEquals(await main(["top", "--count", "1", ...admin], io), 0);
  const text = io.stdout.text;
  assert(text.startsWith("\x1b[?1049h\x1b[?25l\x1b[H"), JSON.stringify(text.slice(0, 40)));
  assert(text.endsWith("\x1b[?25h\x1b[?1049l"));
  assert(text.includes("\x1b[31munhealthy\x1b[0m"));
  // deno-lint-ignore no-control-regex -- these are what has to be counted out
  const plain = text.replaceAll(/\x1b\[[?\d;]*[A-Za-z]/g, "").split("\n");
  assertEquals(plain.filter((line) => line.length > 60), []);
  assert(plain.length <= 10);
});

Deno.test("lbproxy top ends at a signal, and leaves the terminal as it was", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
  const io = new TestIo({ columns: 80, rows: 24 });
  const { promise: drawn, resolve } = Promise.withResolvers<void>();
  const write = io.stdout.writeSync.bind(io.stdout);
  io.stdout.writeSync = (bytes) => {
    if (new TextDecoder().decode(bytes).includes("lbproxy")) resolve();
    return write(bytes);
  };
  const ended = main(["top", "--admin", proxy.server.adminAddress!], io);
  await drawn;
  io.stop("SIGINT");
  assertEquals(await ended, 0);
  assert(io.stdout.text.endsWith("\x1b[?25h\x1b[?1049l"));
});

Deno.test("lbproxy ctl says in a line what is wrong, with code 1 for the proxy and 2 for the command line", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
  const admin = ["--admin", proxy.server.adminAddress!];
  const cases: [args: string[], code: number, err: RegExp][] = [
    [["drain", "default", upstream.address, ...admin], 1, /^A token is needed.*LBPROXY_ADMIN_TOKEN/],
    [
      ["drain", "default", upstream.address, "--token", "wrong", ...admin],
      1,
      /^The token is not one of admin\.tokens$/m,
    ],
    [
      ["drain", "default", "a:1", "--token", TOKEN, ...admin],
      1,
      /^There is no server "a:1" in the pool "default"$/m,
    ],
    [
      ["status", "--admin", `127.0.0.1:${deadPort()}`],
      1,
      /^Cannot reach the admin listener at 127\.0\.0\.1:\d+: .*refused.*\. Run the proxy with --admin, and say by --admin ADDR or LBPROXY_ADMIN where that is$/m,
    ],
    [
      ["status", "--admin", upstream.address],
      1,
      /^Cannot reach the admin listener at 127\.0\.0\.1:\d+: what is there is none\. Run the proxy with --admin/,
    ],
    [["status", "--admin", "here"], 2, /^The admin listener must be/],
    [
      ["status", "--token-file", "/nowhere", ...admin],
      2,
      /^The file of the token is \/nowhere, which cannot be read/,
    ],
    [
      ["status", "--admin", "https://localhost:1", "--ca", "/nowhere"],
      2,
      /^The file of the certificate is \/nowhere, which cannot be read/,
    ],
    [[], 2, /^ctl takes a command: status/],
    [["drian"], 2, /did you mean drain\?/],
    [["drain", "default"], 2, /^Usage: lbproxy ctl drain POOL SERVER$/m],
    [["weight", "default", "a:1", "much"], 2, /^The weight must be a number/],
    [["log-level", "loud"], 2, /^The level must be one of/],
    [["status", "--jsno"], 2, /Unknown option --jsno, did you mean --json\?/],
  ];
  for (const [args, code, err] of cases) {
    const ended = await run("ctl", ...args);
    assertEquals([ended.code, ended.out], [code, ""], `${args.join(" ")}: ${ended.err}`);
    assertMatch(ended.err, err);
    assertEquals(ended.err.split("\n").length, 2, ended.err);
  }
  assertEquals((await run("top", "now")).err, 'top takes options only, received "now"\n');
  assertEquals((await run("top", "--count", "0")).code, 2);
});

Deno.test("lbproxy ctl reads with any token where there are none, and is told what a change needs", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: 0 });
  const access = ["--admin", proxy.server.adminAddress!, "--token", TOKEN];
  assertMatch((await run("ctl", "status", ...access)).out, /^lbproxy/);
  const { code, err } = await run("ctl", "drain", "default", upstream.address, ...access);
  assertEquals([code, err], [
    1,
    "Nothing can be changed here: the configuration has no admin.tokens, such as " +
    '{ ops: { env: "LBPROXY_ADMIN_TOKEN" } }\n',
  ]);
});

Deno.test("lbproxy ctl reaches an admin listener at a unix socket", async () => {
  await using upstream = startUpstream();
  const folder = await Deno.makeTempDir();
  try {
    const place = `unix:${folder}/admin.sock`;
    await using _proxy = await startProxy({ upstreams: [upstream.address], admin: place });
    assertMatch((await run("ctl", "status", "--admin", place)).out, /^lbproxy/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("An admin listener takes the place of a unix socket that nobody listens at any more", async () => {
  await using upstream = startUpstream();
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/admin.sock`;
    // A process that is killed leaves its socket behind.
    const code = `Deno.listen({ transport: "unix", path: ${
      JSON.stringify(path)
    } }); Deno.kill(Deno.pid, "SIGKILL");`;
    await new Deno.Command(Deno.execPath(), { args: ["eval", code] }).output();
    assertEquals((await Deno.lstat(path)).isSocket, true);
    await using _proxy = await startProxy({ upstreams: [upstream.address], admin: `unix:${path}` });
    assertMatch((await run("ctl", "status", "--admin", `unix:${path}`)).out, /^lbproxy/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("lbproxy ctl and top talk to an admin listener with TLS, whose certificate they check", async () => {
  await using upstream = startUpstream();
  const ca = await testCa();
  await using files = await certificateFiles(["localhost"]);
  const folder = await Deno.makeTempDir();
  try {
    const caFile = `${folder}/ca.pem`;
    await Deno.writeTextFile(caFile, ca.cert);
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      admin: { ...ADMIN, tls: { cert: files.cert, key: files.key } },
    });
    const [event] = proxy.seen.eventsOf("admin_listening");
    assertEquals(event?.tls, true);
    const port = Number(proxy.server.adminAddress!.split(":")[1]);
    const admin = ["--admin", `https://localhost:${port}/`];
    await using bare = await startProxy({ upstreams: [upstream.address], admin: ADMIN });
    const hints: readonly (readonly [address: string, ca: boolean, hint: RegExp])[] = [
      [`https://localhost:${port}`, false, /does not know; give that with --ca FILE or LBPROXY_ADMIN_CA$/m],
      [`https://127.0.0.1:${port}`, true, /is not for this name/],
      [`localhost:${port}`, true, /if it has TLS, use --admin https:\/\/HOST:PORT$/m],
      [`https://${bare.server.adminAddress}`, true, /it speaks plain HTTP; use http:\/\/ or no scheme$/m],
    ];
    for (const [address, known, hint] of hints) {
      const { code, err } = await run(
        "ctl",
        "status",
        "--admin",
        address,
        ...(known ? ["--ca", caFile] : []),
      );
      assertEquals(code, 1);
      assertMatch(err, hint);
    }
    const drained = await run(
      "ctl",
      "drain",
      "default",
      upstream.address,
      ...admin,
      "--ca",
      caFile,
      "--token",
      TOKEN,
    );
    assertEquals([drained.code, drained.err], [0, ""]);
    assertEquals(proxy.server.pools.get("default")!.servers[0]!.eligible, false);
    const top = await run("top", "--count", "1", ...admin, "--ca", caFile);
    assertEquals(top.code, 0);
    assertMatch(top.out, /up=0\/1/);
    const stranger = await run("ctl", "status", ...admin);
    assertEquals(stranger.code, 1);
    assertMatch(stranger.err, /^Cannot reach the admin listener at https:.*certificate/is);
    const plain = await run("ctl", "status", "--admin", `127.0.0.1:${port}`);
    assertEquals(plain.code, 1);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("The admin listener takes a new certificate over from its files, and keeps the old one instead of a bad one", async () => {
  await using upstream = startUpstream();
  const ca = await testCa();
  await using files = await certificateFiles(["localhost"]);
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    admin: { ...ADMIN, tls: { cert: files.cert, key: files.key } },
  });
  const { adminAddress } = proxy.server;
  const port = Number(adminAddress!.split(":")[1]);
  const statusAt = async (name: string): Promise<number> => {
    using client = Deno.createHttpClient({ caCerts: [ca.cert] });
    const response = await fetch(`https://${name}:${port}/healthz`, { client });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await statusAt("localhost"), 200);
  await assertRejects(() => statusAt("127.0.0.1"), TypeError);
  using client = Deno.createHttpClient({ caCerts: [ca.cert] });
  const stream = await fetch(`https://localhost:${port}/events`, { client });
  await files.issue(["127.0.0.1"]);
  const told = () => proxy.seen.eventsOf("certificate").map(({ address, problem }) => [address, problem]);
  await proxy.seen.until(() => told().length === 1);
  assertEquals(told(), [[adminAddress, null]]);
  // The streams of before do not outlive it.
  await stream.text().catch(() => {});
  assertEquals(await statusAt("127.0.0.1"), 200);
  await assertRejects(() => statusAt("localhost"), TypeError);
  await Deno.writeTextFile(files.key, "nothing");
  await proxy.seen.until(() => told().length === 2);
  assertMatch(told()[1]?.[1] ?? "", /key/);
  assertEquals(await statusAt("127.0.0.1"), 200);
});

Deno.test("lbproxy ctl explain tells what would become of a request", async () => {
  await using upstream = startUpstream("one");
  await using proxy = await startProxy({
    upstreams: { api: { servers: [upstream.address] } },
    routes: [{ name: "items", match: { host: "shop.example", path: "/api/*" }, upstream: "api" }],
    limiter: { name: "app", key: "header:appid", limit: 3, window: "1h" },
    admin: ADMIN,
  });
  const ctl = (...args: string[]) => run("ctl", "explain", ...args, "--admin", proxy.server.adminAddress!);
  const { code, out } = await ctl(
    "http://shop.example/api/a?b=c",
    "--method=POST",
    "--client=192.0.2.7",
    "--header=appid: me",
    "--header=x-other: 1",
  );
  assertEquals([code, out], [
    0,
    `request  POST shop.example/api/a?b=c from 192.0.2.7
route    items
limit    app  3 of 3 left for "me"  allows
pool     api by round-robin
server   ${upstream.address}  up, weight 1  <- this one
target   /api/a?b=c
ends     at the server
`,
  ]);
  assertMatch((await ctl("/api/a")).out, /^route {4}none\npool {5}none\nends {5}with 404: /m);
  assertEquals(JSON.parse((await ctl("/", "--json")).out).ends.status, 404);
  assertMatch((await ctl("/", "--method=get")).err, /"method" must be a method in capitals/);
});

Deno.test("AdminClient waits for a listener only so long, for its content and its stream too", async () => {
  for (const head of ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"]) {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const address = `127.0.0.1:${listener.addr.port}`;
    using client = new AdminClient({ address, token: null, tokenFile: null, caFile: null }, {
      responseMs: 20,
      changeMs: 20,
    });
    const waits = [() => client.get("/status"), () => client.post("/reload", {})];
    if (head === "") waits.push(() => client.events(new AbortController().signal));
    for (const wait of waits) {
      const refusal = assertRejects(wait, AdminError, "it does not respond. Run the proxy with --admin");
      using connection = await listener.accept();
      await connection.write(new TextEncoder().encode(head));
      await refusal;
    }
  }
});

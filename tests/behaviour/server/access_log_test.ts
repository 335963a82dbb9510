/** The access log of a configuration, as it stands in a file. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { AccessEntry } from "../../../lib/observe/observer.ts";
import type { AccessLogOptions } from "../../../lib/observe/access_log_options.ts";
import { deadPort } from "../../support/dead_port.ts";
import { ENGINE, engineCan, OVER_HTTP2, OVER_TLS } from "../../support/engine.ts";
import { findProgram } from "../../support/find_program.ts";
import { askAt, startProxy, type TestConfig, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { testCa } from "../../support/test_ca.ts";
import { trustingClient } from "../../support/tls_client.ts";
import { untilTrue } from "../../support/until_still.ts";

/** Runs a proxy that logs to a file, and gives its lines once it has stopped. */
async function logged(
  accessLog: Omit<AccessLogOptions, "to">,
  config: TestConfig,
  run: (proxy: TestProxy, path: string) => Promise<void>,
): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/access.log`;
  try {
    {
      await using proxy = await startProxy({ ...config, accessLog: { ...accessLog, to: { file: path } } });
      await run(proxy, path);
    }
    const text = await Deno.readTextFile(path);
    return text === "" ? [] : text.trimEnd().split("\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

for (const protocol of ["http1", "h2"] as const) {
  Deno.test(`accessLog: a line of JSON has all that is known of a request (${protocol})`, async () => {
    await using upstream = startUpstream({
      handler: async (request) => new Response(`got ${(await request.text()).length}`),
    });
    const dead = `127.0.0.1:${deadPort()}`;
    const [line, ...others] = await logged(
      { format: "json" },
      {
        upstreams: { servers: [dead, upstream.address], protocol, balance: "first", ejection: false },
        limiter: [
          { name: "day", key: "ip", limit: 100, window: "1h" },
          { name: "dry", key: "ip", limit: 0, window: "1h", dryRun: true },
        ],
        trustedProxies: ["loopback"],
        routes: [{ name: "all" }],
      },
      async (proxy) => {
        await proxy.ask("POST /a?token=x&b=c", [
          "Host: shop.example",
          "X-Forwarded-For: 192.0.2.7",
          "Referer: https://a.example/?password=y",
          "User-Agent: test/1",
          "Content-Length: 5",
        ], "12345");
        await proxy.seen.untilEntries(1);
      },
    );
    assertEquals(others, []);
    const { time, durationMs, connectMs, firstByteMs, requestId, tls: _tls, ...entry } = JSON.parse(line!);
    assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert(typeof requestId === "string");
    assert(durationMs >= firstByteMs && firstByteMs >= connectMs && connectMs > 0);
    assertEquals(entry, {
      level: "info",
      kind: "access",
      traceId: null,
      client: "192.0.2.7",
      peer: "127.0.0.1",
      method: "POST",
      host: "shop.example",
      target: "/a?token=[redacted]&b=c",
      protocol: OVER_HTTP2 ? "HTTP/2" : "HTTP/1.1",
      referer: "https://a.example/?password=[redacted]",
      userAgent: "test/1",
      status: 200,
      route: "all",
      server: upstream.address,
      pool: "default",
      queueMs: 0,
      bytes: 5,
      bytesReceived: 5,
      attempts: 2,
      tries: [
        { pool: "default", server: dead, failure: "connection_refused" },
        { pool: "default", server: upstream.address, failure: null },
      ],
      limits: { day: "allowed", dry: "would-refuse" },
      limited: null,
      wouldLimit: ["dry"],
      error: null,
      end: "complete",
    });
  });
}

for (const protocol of ["http1", "h2"] as const) {
  Deno.test(`accessLog: only a request that had to connect has a time for that (${protocol})`, async () => {
    await using upstream = startUpstream();
    const lines = await logged(
      { format: "json", fields: ["connectMs"] },
      { upstreams: { servers: [upstream.address], protocol } },
      async (proxy) => {
        // One connection, so that one worker serves both requests.
        using client = await proxy.connect();
        for (let i = 1; i <= 2; i++) {
          await client.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
          await client.readResponse();
          await proxy.seen.untilEntries(i);
        }
      },
    );
    const kinds = lines.map((line) => JSON.parse(line).connectMs).map((each) =>
      each === null ? null : typeof each
    );
    assertEquals(kinds, ["number", null]);
  });
}

Deno.test("accessLog: a client that goes away, and one that is refused, are logged", async () => {
  const gate = Promise.withResolvers<void>();
  await using upstream = startUpstream({
    handler: async () => {
      await gate.promise;
      return new Response("late");
    },
  });
  const lines = await logged(
    { format: "json", fields: ["method", "target", "status", "error", "end", "bytes"] },
    { upstreams: [upstream.address] },
    async (proxy) => {
      {
        using client = await proxy.connect();
        await client.write("GET /gone HTTP/1.1\r\nHost: h\r\n\r\n");
        await untilTrue("the server has a request", () => upstream.requests > 0);
      }
      await proxy.seen.untilEntries(1);
      gate.resolve();
      await proxy.ask("CONNECT h:1");
      await proxy.seen.untilEntries(2);
    },
  );
  const [gone, refused] = lines.map((line) => JSON.parse(line));
  assertEquals([gone.status, gone.error, gone.end, gone.bytes], [499, "client_gone", "client_gone", 0]);
  assertEquals([refused.method, refused.status, refused.end], [
    "CONNECT",
    engineCan("CONNECT by ask()") ? 501 : 400,
    "complete",
  ]);
  assert(refused.bytes > 0);
});

Deno.test(
  "accessLog: a redirect, a bad request and a refused connection are logged with the bytes that were sent",
  {
    ignore: ENGINE === "deno" || OVER_TLS,
  },
  async () => {
    await using upstream = startUpstream();
    const sent: number[] = [];
    const lines = await logged(
      { format: "json", fields: ["method", "target", "status", "bytes"] },
      {
        upstreams: [upstream.address],
        listen: [
          { hostname: "127.0.0.1", port: 0, maxConnectionsPerClient: 1 },
          { hostname: "127.0.0.1", port: 0, redirect: "https" },
        ],
      },
      async (proxy) => {
        sent.push(
          (await askAt(Number(proxy.server.addresses[1]!.split(":")[1]), "GET /x", ["Host: a.example"])).body
            .length,
        );
        await proxy.seen.untilEntries(1);
        using first = await proxy.connect();
        await first.write("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        sent.push((await first.readResponse()).body.length);
        sent.push((await proxy.ask("GET /second")).body.length);
        await proxy.seen.untilEntries(3);
        await first.write("GET / HTTP/1.1\r\nbad header\r\n\r\n");
        sent.push((await first.readResponse()).body.length);
        await proxy.seen.untilEntries(4);
      },
    );
    const entries = lines.map((line) => JSON.parse(line));
    assertEquals(entries.map(({ bytes }) => bytes), sent);
    assertEquals(entries.map(({ method, target, status }) => [method, target, status]), [
      ["GET", "/x", 308],
      ["GET", "/", 200],
      ["GET", "/second", 429],
      ["GET", "/", 400],
    ]);
  },
);

Deno.test("accessLog: fields of requests, without what is secret", async () => {
  await using upstream = startUpstream();
  const fields = ["header:X-App", "header:authorization", "header:x-card", "header:x-none"] as const;
  const ask = (proxy: TestProxy) =>
    proxy.ask(
      "GET /?card=1",
      ["X-App: a\u001b[31m", "Authorization: Bearer x", "X-Card: 4"].map((line) =>
        line.replace("\u001b", "\t")
      ),
    );
  const [hidden] = await logged(
    { format: "json", fields, redact: ["X-Card", "card"] },
    { upstreams: [upstream.address] },
    async (proxy) => void await ask(proxy),
  );
  const { time: _time, ...shown } = JSON.parse(hidden!);
  assertEquals(shown, {
    level: "info",
    kind: "access",
    "header:X-App": "a\t[31m",
    "header:authorization": "[redacted]",
    "header:x-card": "[redacted]",
    "header:x-none": null,
  });
  const [open] = await logged(
    { fields: ["header:authorization"], redact: false },
    { upstreams: [upstream.address] },
    async (proxy) => void await ask(proxy),
  );
  assertStringIncludes(open!, '"/?card=1" 200');
  assertStringIncludes(open!, 'header:authorization="Bearer x"');
});

Deno.test("accessLog: what a client sends is logged as entries have it, whatever bytes it is of", async () => {
  await using upstream = startUpstream();
  const asked: [target: string, fields: string[]][] = [
    ["/plain", ["User-Agent: test/1", "Referer: https://a.example/from"]],
    ["/none", []],
    ["/secret?page=1&token=x", ["Referer: https://a.example/?password=y&page=2"]],
    ["/query?page=1&sort=price", ["Referer: https://a.example/?page=2"]],
    ["/user", ["Referer: https://me:hidden@a.example/"]],
    ["/quotes%22", ['User-Agent: a "b\\ \tc', 'Referer: "']],
    ["/bytes", ["User-Agent: caf\u00e9 \u009b31m", "Referer: \u00e9"]],
    ["/twice", ["User-Agent: one", "User-Agent: two", "Referer:"]],
    ["/" + "long".repeat(2000), ["User-Agent: " + "a".repeat(3000)]],
  ];
  for (const redact of [[], false] as const) {
    let entries: readonly AccessEntry[] = [];
    const lines = await logged(
      { format: "json", redact },
      { upstreams: [upstream.address] },
      async (proxy) => {
        for (const [target, fields] of asked) await proxy.ask(`GET ${target}`, fields);
        await proxy.seen.untilEntries(asked.length);
        entries = proxy.seen.entries.slice();
      },
    );
    const shown = (entries: readonly AccessEntry[]) =>
      entries.map(({ target, referer, userAgent, host }) => ({ target, referer, userAgent, host }))
        .toSorted((a, b) => a.target < b.target ? -1 : 1);
    assertEquals(shown(lines.map((line) => JSON.parse(line))), shown(entries));
    assertEquals(lines.some((line) => /hidden|token=x|password=y/.test(line)), redact === false);
    // deno-lint-ignore no-control-regex
    for (const line of lines) assertEquals(/[\x00-\x1f\x7f-\x9f]/.test(line), false);
  }
});

Deno.test("accessLog: when and sample choose what is logged", async () => {
  await using upstream = startUpstream({
    handler: ({ url }) => new Response("", { status: url.endsWith("/bad") ? 500 : 200 }),
  });
  const ask = async (proxy: TestProxy) => {
    for (let i = 0; i < 20; i++) await proxy.ask(`GET /${i % 10 === 0 ? "bad" : "good"}`);
    await proxy.seen.untilEntries(20);
  };
  const config = { upstreams: [upstream.address] };
  const bad = await logged({ when: ({ status }) => status >= 500 }, config, ask);
  assertEquals(bad.map((line) => line.includes("/bad")), [true, true]);
  const some = await logged({ sample: 0.5 }, config, ask);
  assert(some.length < 20);
});

Deno.test("accessLog: a function makes the line, and cannot begin another one", async () => {
  await using upstream = startUpstream();
  const lines = await logged(
    { format: ({ method, userAgent }) => `${method} ${userAgent}\n\u001b[31mforged` },
    { upstreams: [upstream.address] },
    async (proxy) => void await proxy.ask("GET /", ["User-Agent: x"]),
  );
  assertEquals(lines, ["GET x\\n\\u001b[31mforged"]);
});

Deno.test("ProxyServer.reopenLog() goes on in a new file when the former one was moved away", async () => {
  await using upstream = startUpstream();
  let moved = "";
  const lines = await logged({}, { upstreams: [upstream.address] }, async (proxy, path) => {
    await proxy.ask("GET /one");
    await untilTrue("/one is logged", () => Deno.readTextFileSync(path).includes("/one"));
    await Deno.rename(path, `${path}.old`);
    proxy.server.reopenLog();
    await proxy.ask("GET /two");
    await proxy.seen.untilEntries(2);
    moved = await Deno.readTextFile(`${path}.old`);
  });
  assertEquals([moved.match(/\/\w+/g), lines.map((line) => /"(.*?)"/.exec(line)![1])], [["/one"], ["/two"]]);
});

Deno.test("accessLog: the version of TLS", async () => {
  const tls = await (await testCa()).issue({ names: ["localhost"] });
  await using upstream = startUpstream();
  const lines = await logged({ format: "json", fields: ["tls", "host"] }, {
    upstreams: [upstream.address],
    listen: { hostname: "127.0.0.1", port: 0, engine: "http1", tls },
  }, async (proxy) => {
    using client = await trustingClient();
    const response = await fetch(`https://localhost:${proxy.port}/`, { client });
    await response.body?.cancel();
    await proxy.seen.untilEntries(1);
  });
  assertStringIncludes(lines[0]!, '"tls":"TLSv1.3"');
});

const GOACCESS = await findProgram("goaccess");

Deno.test(`goaccess reads the combined format${GOACCESS.missing}`, GOACCESS, async () => {
  await using upstream = startUpstream({
    handler: ({ url }) => new Response("x", { status: url.endsWith("/missing") ? 404 : 200 }),
  });
  const hostile = 'Mozilla/5.0 "quoted" \\ [x]';
  const lines = await logged({ format: "combined" }, { upstreams: [upstream.address] }, async (proxy) => {
    for (const target of ["/", "/a?b=c", "/missing", "/%22quoted%22"]) {
      await proxy.ask(`GET ${target}`, [`User-Agent: ${hostile}`, "Referer: https://a.example/from"]);
    }
    await proxy.ask("POST /", ["Content-Length: 1"], "x");
    await proxy.seen.untilEntries(5);
  });
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/access.log`, `${lines.join("\n")}\n`);
    const report = `${folder}/report.json`;
    const { code } = await new Deno.Command("goaccess", {
      args: [`${folder}/access.log`, "--log-format=COMBINED", "--no-global-config", "-o", report],
      stdout: "null",
      stderr: "null",
      stdin: "null",
    }).output();
    assertEquals(code, 0);
    const { general, status_codes } = JSON.parse(await Deno.readTextFile(report));
    assertEquals([general.total_requests, general.valid_requests, general.failed_requests], [5, 5, 0]);
    const codes = status_codes.data.flatMap((
      { items }: { items: { data: string; hits: { count: number } }[] },
    ) => items.map(({ data, hits }) => `${data.slice(0, 3)}: ${hits.count}`));
    assertEquals(codes.sort(), ["200: 4", "404: 1"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what a failure is reported with has no secrets either, unless redact is false", async () => {
  for (
    const [redact, shown] of [[undefined, "/a?token=[redacted]&b=c"], [false, "/a?token=x&b=c"]] as const
  ) {
    await logged({ ...(redact === undefined ? {} : { redact }) }, {
      upstreams: [`127.0.0.1:${deadPort()}`],
    }, async (proxy) => {
      await proxy.ask("GET /a?token=x&b=c");
      await proxy.seen.untilEntries(1);
      assertEquals(proxy.seen.eventsOf("request_failure").map(({ target }) => target), [shown]);
    });
  }
});

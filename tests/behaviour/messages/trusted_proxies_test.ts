import { assertEquals } from "@std/assert";
import { ipAllow, ipDeny } from "../../../lib/filters/ip_filter.ts";
import { engineCan, SCHEME } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy, type TestConfig } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

eachTransport(
  "proxy believes a trusted proxy who the client is, and says so to servers and filters",
  async (start) => {
    await using upstream = startUpstream();
    const clients: string[] = [];
    await using proxy = await start({
      upstreams: [upstream.address],
      trustedProxies: ["loopback"],
      forwarded: { forwarded: true },
      requestFilter: (_, ctx) => void clients.push(ctx.client.ip, String(ctx.client.port)),
    });
    await proxy.ask("GET /", [
      "X-Forwarded-For: 198.51.100.1, 203.0.113.9",
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: shop.example",
      "Forwarded: for=203.0.113.9;proto=https",
    ]);
    assertEquals(clients, ["203.0.113.9", "0"]);
    const { headers } = upstream.seen[0]!;
    assertEquals(headers.get("x-forwarded-for"), "198.51.100.1, 203.0.113.9, 127.0.0.1");
    assertEquals(headers.get("x-forwarded-proto"), "https");
    assertEquals(headers.get("x-forwarded-host"), "shop.example");
    // Not of the field that the proxy is trusted by, so it may be the client's.
    assertEquals(headers.get("forwarded"), `for=127.0.0.1;host=h;proto=${SCHEME}`);
    assertEquals((await proxy.seen.untilEntries(1)).clientIp, "203.0.113.9");
  },
);

eachTransport("proxy drops what an untrusted peer says of others", async (start) => {
  await using upstream = startUpstream();
  const clients: string[] = [];
  await using proxy = await start({
    upstreams: [upstream.address],
    trustedProxies: ["10.0.0.0/8"],
    requestFilter: (_, ctx) => void clients.push(ctx.client.ip),
  });
  await proxy.ask("GET /", [
    "X-Forwarded-For: 10.0.0.1",
    "X-Forwarded-Proto: https",
    "Forwarded: for=10.0.0.1",
  ]);
  assertEquals(clients, ["127.0.0.1"]);
  const { headers } = upstream.seen[0]!;
  assertEquals(headers.get("x-forwarded-for"), "127.0.0.1");
  assertEquals([headers.get("x-forwarded-proto"), headers.get("forwarded")], [SCHEME, null]);
});

Deno.test("proxy limits clients behind a trusted proxy one by one, and one that spoofs as itself", async () => {
  await using upstream = startUpstream();
  const limiter = { key: "ip", limit: 1, window: "1m" } as const;
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter,
    trustedProxies: ["loopback"],
  });
  const ask = async (forwardedFor: string) =>
    (await proxy.ask("GET /", [`X-Forwarded-For: ${forwardedFor}`])).status;
  assertEquals([await ask("203.0.113.1"), await ask("203.0.113.2")], [200, 200]);
  assertEquals([await ask("203.0.113.1"), await ask("203.0.113.2")], [429, 429]);
  // Whatever such a client writes in front of its own address.
  for (let n = 0; n < 3; n++) assertEquals(await ask(`192.0.2.${n}, 203.0.113.1`), 429);
});

Deno.test("proxy sets Secure on the cookie of a client that came to a trusted proxy by TLS", {
  ignore: !engineCan("plain HTTP"),
}, async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: { servers: [upstream.address], sticky: { secret: "a secret of enough characters" } },
    trustedProxies: ["loopback"],
  });
  const secure = await proxy.ask("GET /", ["X-Forwarded-Proto: https"]);
  assertEquals(secure.field("set-cookie")?.includes("; Secure"), true);
  assertEquals((await proxy.ask()).field("set-cookie")?.includes("; Secure"), false);
});

const BY_FORWARDED = { from: ["loopback"], field: "forwarded" } as const;

eachTransport("proxy believes Forwarded alone where that is the field, and sends it on", async (start) => {
  await using upstream = recordingUpstream();
  const clients: string[] = [];
  await using proxy = await start({
    upstreams: [upstream.address],
    trustedProxies: BY_FORWARDED,
    forwarded: { forwarded: true },
    requestFilter: (_, ctx) => void clients.push(ctx.client.ip),
  });
  const claims = ["For: 6.6.6.6", "Proto: https", "Host: evil.example"].map((claim) =>
    `X-Forwarded-${claim}`
  );
  await proxy.ask("GET /", [...claims, "Forwarded: for=203.0.113.9;host=shop.example;proto=https"]);
  await proxy.ask("GET /", claims);
  assertEquals(clients, ["203.0.113.9", "127.0.0.1"]);
  const [first, second] = upstream.requests.map(({ fields }) =>
    Object.fromEntries(
      fields.filter(([name]) => /forwarded/i.test(name)).map(([name, value]) => [name.toLowerCase(), value]),
    )
  );
  assertEquals(first, {
    "forwarded": `for=203.0.113.9;host=shop.example;proto=https, for=127.0.0.1;host=h;proto=${SCHEME}`,
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": "shop.example",
    "x-forwarded-proto": "https",
  });
  assertEquals(second, {
    "forwarded": `for=127.0.0.1;host=h;proto=${SCHEME}`,
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": "h",
    "x-forwarded-proto": SCHEME,
  });
});

/** Whom a request comes from, and what servers are told, where a front proxy has added its line to those of its client. */
async function told(trustedProxies: NonNullable<TestConfig["trustedProxies"]>, lines: readonly string[]) {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    trustedProxies,
    forwarded: { forwarded: true, via: false },
    filters: [ipDeny(["203.0.113.66"])],
  });
  const { status } = await proxy.ask("GET /", lines);
  const { clientIp } = await proxy.seen.untilEntries(1);
  return {
    status,
    clientIp,
    sent: status === 403 ? [] : [upstream.sent("x-forwarded-for"), upstream.sent("forwarded")].flat(),
  };
}

Deno.test("proxy keeps what the front proxy adds to Forwarded, whatever its client has sent", async () => {
  const own = `for=127.0.0.1;host=h;proto=${SCHEME}`;
  const clients: [lines: string[], left: string][] = [
    [['Forwarded: for="'], "for=unknown, "],
    [['Forwarded: for="127.0.0.1'], "for=unknown, "],
    [['Forwarded: for=127.0.0.1;by="\\'], "for=unknown, "],
    [['Forwarded: "', "Forwarded: for=127.0.0.1"], "for=unknown, for=127.0.0.1, "],
    [["Forwarded: for=127.0.0.1"], "for=127.0.0.1, "],
    [["Forwarded: "], ""],
    [["Forwarded: ", "Forwarded: "], ""],
    [["X-Forwarded-For: 127.0.0.1"], ""],
    [["X-Forwarded-For:"], ""],
    [["X-Forwarded-For: 203.0.113.1", "X_Forwarded_For: 203.0.113.1"], ""],
  ];
  for (const [lines, left] of clients) {
    // A front proxy either adds a line, or to the last one that is there.
    const last = lines.at(-1)!;
    const appended = last.startsWith("F") ? [[...lines.slice(0, -1), `${last}, for=203.0.113.9`]] : [];
    for (
      const all of [
        [...lines, "Forwarded: for=203.0.113.9"],
        ...appended.filter(() => last !== "Forwarded: "),
      ]
    ) {
      const { clientIp, sent } = await told(BY_FORWARDED, all);
      assertEquals(clientIp, "203.0.113.9", JSON.stringify(all));
      assertEquals(sent, ["127.0.0.1", `${left}for=203.0.113.9, ${own}`], JSON.stringify(all));
    }
    const refused = await told(BY_FORWARDED, [...lines, "Forwarded: for=203.0.113.66"]);
    assertEquals(refused.status, 403, JSON.stringify(lines));
  }
});

Deno.test("proxy keeps what the front proxy adds to X-Forwarded-For, whatever its client has sent", async () => {
  const field = "x-forwarded-for";
  const clients: [lines: string[], left: string][] = [
    [["X-Forwarded-For: 127.0.0.1"], "127.0.0.1, "],
    [['X-Forwarded-For: "127.0.0.1'], '"127.0.0.1, '],
    [["X-Forwarded-For:"], ""],
    [["X-Forwarded-For:", "X-Forwarded-For:"], ""],
    [["X-Forwarded-For: ,"], ",, "],
    [["Forwarded: for=127.0.0.1"], ""],
    [["Forwarded:"], ""],
  ];
  for (const trusted of [["loopback"], { from: ["loopback"] }, { from: ["loopback"], field }] as const) {
    for (const [lines, left] of clients) {
      const { clientIp, sent } = await told(trusted, [...lines, "X-Forwarded-For: 203.0.113.9"]);
      assertEquals(clientIp, "203.0.113.9", JSON.stringify(lines));
      assertEquals(
        sent,
        [`${left}203.0.113.9, 127.0.0.1`, `for=127.0.0.1;host=h;proto=${SCHEME}`],
        JSON.stringify(lines),
      );
    }
  }
});

Deno.test("proxy takes no trusted proxy for a client that it cannot name, and limits all such clients as one", async () => {
  await using upstream = recordingUpstream();
  for (
    const [field, line] of [["x-forwarded-for", "X-Forwarded-For:"], ["forwarded", "Forwarded: "]] as const
  ) {
    await using proxy = await startProxy({
      upstreams: [upstream.address],
      trustedProxies: { from: ["loopback"], field },
      limiter: { key: "ip", limit: 2, window: "1h", exempt: ["127.0.0.0/8"] },
      routes: [
        { match: { path: "/internal" }, filters: [ipAllow(["127.0.0.1", "::/0", "0.0.0.0/0"])] },
        { match: { path: "/" } },
      ],
    });
    const bad = [
      "",
      ",",
      "unknown",
      "x",
      "127.0.0.1x",
      "127.0.0.01",
      '"127.0.0.1',
      "127.0.0.1,",
      "for=",
      "for=_x",
      'for="',
    ];
    for (const value of bad.slice(0, 2)) {
      assertEquals((await proxy.ask("GET /internal", [line + value])).status, 403, value);
    }
    for (const value of bad) assertEquals((await proxy.ask("GET /", [line + value])).status, 429, value);
    // The trusted proxy asks for itself.
    for (let n = 0; n < 4; n++) assertEquals((await proxy.ask("GET /internal")).status, 200);
    await proxy.seen.untilEntries(2 + bad.length + 4);
    assertEquals(
      new Set(proxy.seen.entries.map(({ clientIp }) => clientIp)),
      new Set(["unknown", "127.0.0.1"]),
    );
  }
});

import { assertEquals, assertObjectMatch } from "@std/assert";
import fc from "fast-check";
import type { AccessEntry } from "../../../lib/observe/observer.ts";
import {
  type AccessLineFormat,
  combinedFormat,
  jsonFormat,
  textFormat,
  wholeJsonFormat,
  wholeTextFormat,
} from "../../../lib/observe/access_line.ts";
import { LineBytes } from "../../../lib/observe/line_bytes.ts";
import { accessEntry } from "../../support/access_entry.ts";

const TIME = "2026-01-01T00:00:00.000Z";
const WALL = Date.parse("2026-11-23T12:00:05.250Z");
const WALL_TEXT = "2026-11-23T12:00:05.250Z";

function lineOf(format: AccessLineFormat, entry: AccessEntry, wallTime: number): string {
  const out = new LineBytes(1);
  format(out, entry, null, wallTime);
  return new TextDecoder().decode(out.written);
}

const json = wholeJsonFormat();
const text = wholeTextFormat();
const formatAccessJson = (entry: AccessEntry, time: string): string => lineOf(json, entry, Date.parse(time));
const formatAccessText = (entry: AccessEntry, time: string): string => lineOf(text, entry, Date.parse(time));

const ENTRY: AccessEntry = accessEntry({
  requestId: "7",
  clientIp: "192.0.2.1",
  method: "GET",
  target: "/a?b=c",
  status: 200,
  route: null,
  server: "127.0.0.1:9001",
  pool: "default",
  durationMs: 12.34567,
  bytesSent: 5,
  attempts: 1,
  limitedBy: null,
  wouldLimit: [],
  error: null,
});

Deno.test("formatAccessText() writes one line with what there is to tell", () => {
  assertEquals(
    formatAccessText(ENTRY, TIME),
    `${TIME} access GET "/a?b=c" 200 12.346ms client=192.0.2.1 server=127.0.0.1:9001 bytes=5 id=7`,
  );
  const limited = {
    ...ENTRY,
    clientIp: "",
    status: 429,
    server: null,
    pool: null,
    attempts: 0,
    limitedBy: "per app",
  };
  assertEquals(
    formatAccessText(limited, TIME),
    `${TIME} access GET "/a?b=c" 429 12.346ms client=- server=- bytes=5 id=7 limited="per app"`,
  );
  const tried = { ...ENTRY, route: "api", wouldLimit: ["per app", "day"] };
  assertEquals(
    formatAccessText(tried, TIME),
    `${TIME} access GET "/a?b=c" 200 12.346ms client=192.0.2.1 server=127.0.0.1:9001 bytes=5 id=7 route=api would-limit="per app" would-limit=day`,
  );
  const failed = {
    ...ENTRY,
    status: 502,
    pool: "api",
    attempts: 2,
    durationMs: 1,
    error: "connection_refused",
  };
  assertEquals(
    formatAccessText(failed, TIME),
    `${TIME} access GET "/a?b=c" 502 1ms client=192.0.2.1 server=127.0.0.1:9001 bytes=5 id=7 pool=api attempts=2 error=connection_refused`,
  );
});

Deno.test("wholeJsonFormat() writes the same members in the same order for every request", () => {
  assertEquals(
    formatAccessJson(ENTRY, TIME),
    `{"time":"${TIME}","level":"info","kind":"access","requestId":"7","traceId":null,"client":"192.0.2.1","peer":"192.0.2.1","method":"GET","host":"h","target":"/a?b=c","protocol":"HTTP/1.1","tls":null,"referer":null,"userAgent":null,"status":200,"route":null,"server":"127.0.0.1:9001","pool":"default","durationMs":12.346,"queueMs":0,"connectMs":null,"firstByteMs":10,"bytes":5,"bytesReceived":0,"attempts":1,"tries":[],"limits":{},"limited":null,"wouldLimit":[],"error":null,"end":"complete"}`,
  );
  const { route, wouldLimit } = JSON.parse(
    formatAccessJson({ ...ENTRY, route: 'a"b', wouldLimit: ['c"d', "e"] }, TIME),
  );
  assertEquals([route, wouldLimit], ['a"b', ['c"d', "e"]]);
  const bare = { ...ENTRY, server: null, pool: null };
  assertEquals(
    Object.keys(JSON.parse(formatAccessJson(bare, TIME))),
    Object.keys(JSON.parse(formatAccessJson(ENTRY, TIME))),
  );
});

Deno.test("wholeJsonFormat() says of each request what is its own, whatever came before", () => {
  const one = <Value>(...values: readonly Value[]) => fc.constantFrom(...values);
  const entries = fc.record({
    wallTime: one(WALL, WALL + 1, WALL + 9, WALL + 1000, WALL - 250, WALL + 86_400_000),
    traceId: one(null, "ab".repeat(16)),
    clientIp: one("192.0.2.1", "192.0.2.10", ""),
    peerIp: one("192.0.2.1", "192.0.2.10"),
    method: one("GET", "POST", ""),
    host: one("a", "b.example", "x".repeat(300)),
    protocol: one("HTTP/1.1", "HTTP/2"),
    tlsVersion: one(null, "TLSv1.3"),
    route: one(null, "api"),
    server: one(null, "127.0.0.1:9001", "127.0.0.1:9002"),
    pool: one(null, "default", "api"),
    queueMs: one(0, 1.5),
    connectMs: one(null, 0, 2),
    bytesReceived: one(0, 7),
    attempts: one(0, 1),
    limits: one([], [{ policy: { name: "per app" }, outcome: "allowed" as const }]),
    limitedBy: one(null, "per app"),
    error: one(null, "connection_refused"),
    end: one("complete", "client_gone"),
  });
  fc.assert(
    fc.property(fc.array(entries, { minLength: 2, maxLength: 12 }), (all) => {
      const format = wholeJsonFormat();
      for (const { wallTime, ...own } of all) {
        const entry = accessEntry(own);
        const line = JSON.parse(lineOf(format, entry, wallTime));
        assertEquals(line, JSON.parse(lineOf(wholeJsonFormat(), entry, wallTime)));
        const { clientIp: client, peerIp: peer, tlsVersion: tls, limitedBy: limited, limits, ...same } = own;
        const time = new Date(wallTime).toISOString();
        const decisions = Object.fromEntries(limits.map(({ policy, outcome }) => [policy.name, outcome]));
        assertObjectMatch(line, { ...same, time, client, tls, limited, limits: decisions, peer });
      }
    }),
    { seed: 17, numRuns: 200 },
  );
});

Deno.test("access lines cannot be forged by a client", () => {
  const target = '/" 200 1ms\n2026-01-01T00:00:00.000Z access GET "/admin';
  assertEquals(formatAccessText({ ...ENTRY, target }, TIME).split("\n").length, 1);
  const text = fc.string({ unit: "binary", maxLength: 30 });
  fc.assert(
    fc.property(text, text, text, text, (target, method, clientIp, limitedBy) => {
      const entry = { ...ENTRY, target, method, clientIp, limitedBy, error: target, server: method };
      const json = JSON.parse(formatAccessJson(entry, TIME));
      assertEquals([json.target, json.method, json.client, json.limited], [
        target,
        method,
        clientIp,
        limitedBy,
      ]);
      const line = formatAccessText(entry, TIME);
      // deno-lint-ignore no-control-regex
      assertEquals(/[\x00-\x1f\x7f]/.test(line), false);
      // What stands between the quotes of the target cannot end them.
      assertEquals(/ "((?:[^"\\]|\\.)*)" 200 12\.346ms client=/.exec(line)?.[1] !== undefined, true);
    }),
    { seed: 5, numRuns: 300 },
  );
});

Deno.test("wholeJsonFormat() writes every try and the decision of every policy", () => {
  const tries = [
    { pool: "a", address: "127.0.0.1:1", failure: "connection_refused" },
    { pool: "a", address: "127.0.0.1:2", failure: null },
  ];
  const limits = [{ policy: { name: 'p"1' }, outcome: "allowed" }, {
    policy: { name: "dry" },
    outcome: "would-refuse",
  }] as const;
  const read = JSON.parse(formatAccessJson({ ...ENTRY, tries, limits }, TIME));
  assertEquals([read.tries, read.limits], [
    [
      { pool: "a", server: "127.0.0.1:1", failure: "connection_refused" },
      { pool: "a", server: "127.0.0.1:2", failure: null },
    ],
    { 'p"1': "allowed", dry: "would-refuse" },
  ]);
});

Deno.test("combinedFormat() writes what Apache and nginx write", () => {
  const format = combinedFormat();
  assertEquals(
    lineOf(format, ENTRY, WALL),
    '192.0.2.1 - - [23/Nov/2026:12:00:05 +0000] "GET /a?b=c HTTP/1.1" 200 5 "-" "-"',
  );
  const entry = {
    ...ENTRY,
    clientIp: "",
    method: "",
    referer: "https://a.example/",
    userAgent: 'a "b\\ \n\u009b\u20ac',
  };
  assertEquals(
    lineOf(format, entry, WALL),
    '- - - [23/Nov/2026:12:00:05 +0000] "-" 200 5 "https://a.example/" "a \\x22b\\x5C \\x0A\\x9B\\xE2\\x82\\xAC"',
  );
});

Deno.test("jsonFormat() and textFormat() write the fields that were asked for, in their order", () => {
  const fields = ["client", "host", "durationMs", "header:x-app", "header:x-none", "tries", "limited"];
  const entry = {
    ...ENTRY,
    headers: { "x-app": 'two "words"' },
    tries: [{ pool: "p", address: "a:1", failure: null }],
  };
  assertEquals(
    lineOf(jsonFormat(fields), entry, WALL),
    `{"time":"${WALL_TEXT}","level":"info","kind":"access","client":"192.0.2.1","host":"h","durationMs":12.346,"header:x-app":"two \\"words\\"","header:x-none":null,"tries":[{"pool":"p","server":"a:1","failure":null}],"limited":null}`,
  );
  assertEquals(
    lineOf(textFormat(["host", "header:x-app", "limited", "queueMs"]), entry, WALL),
    `${WALL_TEXT} access GET "/a?b=c" 200 12.346ms host=h header:x-app="two \\"words\\"" limited=- queueMs=0`,
  );
});

Deno.test("no format lets a client begin a line, end a value, or drive a terminal", () => {
  const text = fc.string({ unit: "binary", maxLength: 30 });
  const formats = [combinedFormat(), jsonFormat(["host", "header:x"]), textFormat(["host", "header:x"])];
  fc.assert(
    fc.property(text, text, text, text, (target, userAgent, referer, host) => {
      const entry = { ...ENTRY, target, userAgent, referer, host, headers: { x: userAgent } };
      for (const format of formats) {
        // deno-lint-ignore no-control-regex
        assertEquals(/[\x00-\x1f\x7f-\x9f\u2028\u2029]/.test(lineOf(format, entry, WALL)), false);
      }
      assertEquals(lineOf(formats[0]!, entry, WALL).split('"').length, 7);
      assertEquals(JSON.parse(lineOf(formats[1]!, entry, WALL))["header:x"], userAgent);
    }),
    { seed: 6, numRuns: 300 },
  );
});

Deno.test("wholeJsonFormat() tells requests apart that go different ways", () => {
  const format = wholeJsonFormat();
  const entries = [
    { server: "a:1", pool: "p", route: null },
    { server: "a:1", pool: "p", route: "r" },
    { server: "a:1", pool: "q", route: "r" },
    { server: "b:1", pool: "q", route: "r" },
    { server: null, pool: null, route: null },
    { server: "a:1", pool: "p", route: null },
  ].map((way, i) =>
    accessEntry({
      ...way,
      peerIp: i % 2 === 0 ? "192.0.2.1" : "10.0.0.1",
      attempts: way.server === null ? 0 : 1,
      tries: way.server === null
        ? []
        : [{ pool: way.pool!, address: way.server, failure: i === 3 ? "x" : null }],
      error: i === 4 ? "y" : null,
    })
  );
  const read = entries.map((entry) => JSON.parse(lineOf(format, entry, WALL)));
  assertEquals(
    read.map((
      { server, pool, route, peer, attempts, tries, error, end },
    ) => [server, pool, route, peer, attempts, tries, error, end]),
    entries.map(({ server, pool, route, peerIp, attempts, tries, error, end }) => [
      server,
      pool,
      route,
      peerIp,
      attempts,
      tries.filter(({ failure }) => failure !== null).map(({ pool, address, failure }) => ({
        pool,
        server: address,
        failure,
      })),
      error,
      end,
    ]),
  );
});

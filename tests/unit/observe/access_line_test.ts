import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { AccessEntry } from "../../../lib/observe/access_entry.ts";
import { formatAccessJson, formatAccessText } from "../../../lib/observe/access_line.ts";

const TIME = "2026-01-01T00:00:00.000Z";
const ENTRY: AccessEntry = {
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
};

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

Deno.test("formatAccessJson() writes the same members in the same order for every request", () => {
  assertEquals(
    formatAccessJson(ENTRY, TIME),
    `{"time":"${TIME}","level":"info","kind":"access","requestId":"7","client":"192.0.2.1","method":"GET","target":"/a?b=c","status":200,"route":null,"server":"127.0.0.1:9001","pool":"default","durationMs":12.346,"bytes":5,"attempts":1,"limited":null,"wouldLimit":[],"error":null}`,
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

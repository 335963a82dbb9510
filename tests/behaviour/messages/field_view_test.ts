/** Keys, filters, routes and servers see one and the same value of a field, whatever lines a client makes of it. */

import { assertEquals } from "@std/assert";
import type { LimiterPolicy } from "../../../lib/limiter/policy.ts";
import { engineCan } from "../../support/engine.ts";
import { eachTransport } from "../../support/each_transport.ts";
import { askByH2 } from "../../support/h2_request.ts";
import { recordingUpstream } from "../../support/recording_upstream.ts";
import { startProxy } from "../../support/start_proxy.ts";

/** Lines of a client, and what they say to everybody. */
const SPELLINGS: readonly (readonly [lines: readonly string[], value: string])[] = [
  [["appid: me"], "me"],
  [["appid:", "appid: me"], "me"],
  [["appid:", "AppId:", "appid: me"], "me"],
  [["appid: me", "appid:"], "me"],
  [["appid: me", "appid:", "appid:"], "me"],
  [["appid:", "appid: me", "appid:"], "me"],
  [["appid: \t me \t"], "me"],
  [
    ["appid: a", "appid:", "appid: b"],
    engineCan("empty lines of a field between others") ? "a, , b" : "a, b",
  ],
  [["appid: a", "appid: b", "appid:"], "a, b"],
  // Not empty lines but commas that were sent.
  [["appid: , me"], ", me"],
  [["appid: me,"], "me,"],
  [["appid: me,", "appid:"], "me,"],
  [["appid:"], ""],
  [["appid:", "appid:"], ""],
];

eachTransport(
  "proxy shows filters, functions, routes and servers the same value of a field",
  async (start) => {
    await using upstream = recordingUpstream();
    const seen: [string, string | null][] = [];
    const note = (who: string, { headers }: Request) => {
      seen.push([who, headers.get("AppId")]);
      headers.forEach((value, name) => name === "appid" && seen.push([`${who} forEach`, value]));
      seen.push([`${who} copy`, new Headers(headers).get("appid")]);
    };
    await using proxy = await start({
      upstreams: { servers: [upstream.address], key: "header:appid", balance: "consistent-hash" },
      routes: [{
        match: { headers: { appid: /^/ } },
        filters: [{ newContext: (request) => void note("newContext of the route", request) }],
      }],
      limiter: {
        key: (request) => {
          note("key", request);
          return null;
        },
        limit: 1,
        window: "1h",
      },
      newContext: (request) => void note("newContext", request),
      requestFilter: (request, ctx) => {
        note("requestFilter", request);
        note("clone", request.clone());
        note("clone of a clone", request.clone().clone());
        note("ctx", ctx.request);
      },
      upstreamRequestFilter: ({ headers }) => void seen.push(["upstreamRequestFilter", headers.get("appid")]),
      logging: (ctx) => note("logging", ctx.request),
    });
    for (const [lines, value] of SPELLINGS) {
      assertEquals((await proxy.ask("GET /", lines)).status, 200);
      assertEquals(seen.splice(0).filter(([, each]) => each !== value), [], JSON.stringify(lines));
      // Lines that are several go on as several, where they are known.
      assertEquals(upstream.sent("appid").join(", "), value, JSON.stringify(lines));
    }
  },
);

eachTransport("proxy shows the same cookies to all", async (start) => {
  await using upstream = recordingUpstream();
  const seen: (string | null)[] = [];
  await using proxy = await start({
    upstreams: [upstream.address],
    requestFilter: ({ headers }) => void seen.push(headers.get("cookie")),
  });
  for (const lines of [["a=1", "", "b=2", ""], ["", "a=1", "b=2"]]) {
    await proxy.ask("GET /", lines.map((line) => `Cookie: ${line}`));
    assertEquals(
      upstream.sent("cookie").join(engineCan("lines of a field apart") ? "; " : ", "),
      seen.pop()!,
    );
  }
});

Deno.test("limiter counts a field once, whatever empty lines and spaces are with it", async () => {
  await using upstream = recordingUpstream();
  const limiter = { key: "header:AppId", limit: 1, window: "1h" } as const;
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter });
  const ask = async (lines: string[]) => (await proxy.ask("GET /", lines)).status;
  assertEquals(await ask(["appid: me"]), 200);
  for (let n = 0; n < 12; n++) {
    const before = Array.from({ length: n }, () => "appid:");
    assertEquals(await ask([...before, "appid: me"]), 429, `${n} before`);
    assertEquals(await ask(["appid: me", ...before]), 429, `${n} behind`);
    assertEquals(await ask([...before, "appid: me", ...before]), 429, `${n} around`);
  }
  assertEquals(upstream.requests.length, 1);
});

Deno.test("limiter counts a field once over HTTP/2, where white space comes with values", async () => {
  await using upstream = recordingUpstream();
  const seen: (string | null)[] = [];
  await using proxy = await startProxy({
    listen: { port: 0, hostname: "127.0.0.1", engine: "deno" },
    upstreams: [upstream.address],
    limiter: { key: "header:appid", limit: 1, window: "1h" },
    requestFilter: ({ headers }) => void seen.push(headers.get("appid"), new Headers(headers).get("appid")),
  });
  const ask = (...values: string[]) => askByH2(proxy.port, values.map((value) => ["appid", value] as const));
  assertEquals(await ask(" me"), true);
  for (const values of [["me"], ["me "], ["\t me"], ["", "me"], ["me", ""], [" ", "me"], ["me ", " ", ""]]) {
    assertEquals(await ask(...values), false, JSON.stringify(values));
  }
  assertEquals([upstream.sent("appid"), seen], [["me"], ["me", "me"]]);
});

/** Whether each of the requests is admitted by a limit of one. */
async function admitted(key: LimiterPolicy["key"], asked: readonly [target: string, cookie: string][]) {
  await using upstream = recordingUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { key, limit: 1, window: "1h" },
  });
  const statuses: number[] = [];
  for (const [target, cookie] of asked) {
    const lines = cookie === "" ? [] : [`Cookie: ${cookie}`];
    statuses.push((await proxy.ask(`GET ${target}`, lines)).status);
  }
  return statuses.map((status) => status === 200);
}

Deno.test("limiter counts a cookie once, however it is spelled, and the first that is not empty", async () => {
  const spellings = [
    "sid=me",
    "sid=me; sid=other",
    "sid=; sid=me",
    'sid=""; sid=me',
    "sid = me",
    "\tsid=\tme\t",
    'sid="me"',
    "sid=%6de",
    'sid="%6d%65"',
    "; ; sid=me",
    "sid; sid=me",
  ];
  const asked = spellings.map((cookie): [string, string] => ["/", cookie]);
  assertEquals(await admitted("cookie:sid", asked), spellings.map((_, i) => i === 0));
});

Deno.test("limiter counts a parameter of the query once, however it is spelled, and the first that is not empty", async () => {
  const spellings = ["/?k=me", "/?k=me&k=other", "/?k=&k=me", "/?k&k=me", "/?%6b=%6de", "/?a=1&&k=me"];
  const asked = spellings.map((target): [string, string] => [target, ""]);
  assertEquals(await admitted("query:k", asked), asked.map((_, i) => i === 0));
});

Deno.test("limiter counts by the last of several by a function, where the server takes that", async () => {
  const last: LimiterPolicy["key"] = (_request, { target }) =>
    new URLSearchParams(target.split("?")[1]).getAll("k").at(-1) ?? null;
  assertEquals(await admitted(last, [["/?k=1&k=me", ""], ["/?k=2&k=me", ""], ["/?k=me", ""]]), [
    true,
    false,
    false,
  ]);
});

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { engineCan } from "../../support/engine.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { startProxy } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** The limit of the tutorial. */
const TUTORIAL = { key: "header:appid", limit: 1, window: "1s" } as const;

Deno.test("limiter does not limit requests without the header", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: TUTORIAL });
  for (let i = 0; i < 5; i++) {
    const answer = await proxy.ask();
    assertEquals(answer.status, 200);
    assertEquals(answer.fields.filter(([name]) => /limit|retry/i.test(name)), []);
  }
  assertEquals(upstream.requests, 5);
});

Deno.test("limiter refuses the second request in a window as the tutorial does", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: TUTORIAL }, {
    clock: new FakeClock(),
  });
  assertEquals((await proxy.ask("GET /", ["appid: myclient"])).status, 200);
  const refused = await proxy.ask("GET /", ["appid: myclient"]);
  assertEquals(refused.status, 429);
  assertEquals(refused.field("x-rate-limit-limit"), "1");
  assertEquals(refused.field("x-rate-limit-remaining"), "0");
  assertEquals(refused.field("x-rate-limit-reset"), "1");
  assertEquals(refused.field("retry-after"), "1");
  if (engineCan("connection: close")) assertEquals(refused.field("connection"), "close");
  assertEquals(upstream.requests, 1);
});

Deno.test("limiter admits again in the next window", async () => {
  const clock = new FakeClock();
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: TUTORIAL }, { clock });
  const statuses = [];
  for (const pause of [0, 0, 999, 1, 0, 1000]) {
    clock.tick(pause);
    statuses.push((await proxy.ask("GET /", ["appid: a"])).status);
  }
  assertEquals(statuses, [200, 429, 429, 200, 429, 200]);
});

Deno.test("limiter counts every key for itself", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: TUTORIAL }, {
    clock: new FakeClock(),
  });
  const statuses = [];
  for (const appid of ["a", "b", "a", "A", "b", "c"]) {
    statuses.push((await proxy.ask("GET /", [`APPID: ${appid}`])).status);
  }
  assertEquals(statuses, [200, 200, 429, 200, 429, 200]);
});

Deno.test("limiter takes the limit from a function of the key", async () => {
  await using upstream = startUpstream();
  const limit = (appid: string) => appid === "premium_user" ? 3 : 1;
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...TUTORIAL, limit },
  }, { clock: new FakeClock() });
  const ask = async (appid: string) => (await proxy.ask("GET /", [`appid: ${appid}`])).status;
  const premium = [await ask("premium_user"), await ask("premium_user"), await ask("premium_user")];
  assertEquals([...premium, await ask("premium_user")], [200, 200, 200, 429]);
  assertEquals([await ask("other"), await ask("other")], [200, 429]);
});

Deno.test("limiter refuses with a problem document that names the policy", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { ...TUTORIAL, name: "by-app", limit: 0 },
  });
  const answer = await proxy.ask("POST /", ["appid: a", "Content-Length: 3"], "abc");
  assertEquals(answer.status, 429);
  assertEquals(answer.field("content-type"), "application/problem+json");
  assertEquals(answer.field("cache-control"), "no-store");
  const problem = JSON.parse(answer.text);
  assertEquals([problem.status, problem.title], [429, "Too Many Requests"]);
  assertStringIncludes(JSON.stringify(problem), "by-app");
  assertEquals(upstream.requests, 0);
});

Deno.test("limiter tells admitted clients what is left, next to the server's own fields", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: { key: "ip", limit: 3, window: "1m" },
  }, { clock: new FakeClock() });
  const answer = await proxy.ask();
  assertEquals([answer.status, answer.field("x-upstream")], [200, "upstream"]);
  assertMatch(answer.field("ratelimit")!, /r=2\b/);
  assertMatch(answer.field("ratelimit-policy")!, /q=3;w=60/);
});

Deno.test("limiter refuses a flood on one connection without asking the servers", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: TUTORIAL }, {
    clock: new FakeClock(),
  });
  const answers = await Promise.all(
    Array.from({ length: 50 }, () => proxy.ask("GET /", ["appid: flood"])),
  );
  const admitted = answers.filter(({ status }) => status === 200);
  assertEquals([admitted.length, answers.length - admitted.length, upstream.requests], [1, 49, 1]);
});

Deno.test("limiter's refusals are in the access log", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], limiter: { ...TUTORIAL, limit: 0 } });
  const { text } = await proxy.ask("GET /x", ["appid: a"]);
  const { status, limitedBy, server, attempts, error, bytesSent } = await proxy.seen.untilEntries(1);
  assertEquals({ status, limitedBy, server, attempts, error, bytesSent }, {
    status: 429,
    limitedBy: "default",
    server: null,
    attempts: 0,
    error: null,
    bytesSent: text.length,
  });
});

Deno.test("limiter whose function throws fails the request without telling why", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({
    upstreams: [upstream.address],
    limiter: {
      ...TUTORIAL,
      limit: () => {
        throw new Error("secret");
      },
    },
  });
  const answer = await proxy.ask("GET /", ["appid: a"]);
  assertEquals([answer.status, answer.text.includes("secret")], [500, false]);
  assertEquals((await proxy.ask()).status, 200);
  assertEquals(upstream.requests, 1);
});

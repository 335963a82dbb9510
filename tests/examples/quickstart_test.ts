import { assertEquals, assertStringIncludes } from "@std/assert";
import { type RunningExample, startExample } from "../support/start_example.ts";
import type { Answer } from "../support/start_proxy.ts";

/** Two requests with the same `appid` in one window of a second; on a machine that stands still, at a later try. */
async function askTwice(example: RunningExample): Promise<{ first: Answer; second: Answer }> {
  for (let n = 1;; n++) {
    const first = await example.ask("GET /", [`appid: myclient${n}`]);
    const second = await example.ask("GET /", [`appid: myclient${n}`]);
    if (second.status === 429 || n === 5) return { first, second };
  }
}

Deno.test("examples/quickstart says where it listens, and does what its three curl lines promise", async () => {
  await using example = await startExample("quickstart");
  const [banner] = await example.program.stdoutMatch(/lbproxy listens on[^]*Ctrl-C stops it\./);
  const url = `http://${example.address}/`;
  for (const part of [`on ${url}\n`, `curl -v ${url} `, `curl -v ${url} -H "appid: myclient"`]) {
    assertStringIncludes(banner, part);
  }

  const free = await example.ask("GET /");
  const { first, second } = await askTwice(example);

  assertEquals([free, first, second].map(({ status }) => status), [200, 200, 429]);
  const names = [
    "x-rate-limit-limit",
    "x-rate-limit-remaining",
    "x-rate-limit-reset",
    "retry-after",
    "connection",
  ];
  assertEquals(names.map((name) => second.field(name)), ["1", "0", "1", "1", "close"]);
  assertEquals(names.slice(0, 3).map((name) => free.field(name)), [undefined, undefined, undefined]);
  assertEquals((await example.stop("SIGINT")).code, 0);
});

Deno.test("examples/quickstart gives ten requests to its two servers in turn", async () => {
  await using example = await startExample("quickstart");
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 10; n++) names.push((await example.ask("GET /")).field("x-upstream"));
  assertEquals(names.slice(2), names.slice(0, -2));
  assertEquals(names.slice(0, 2).sort(), ["one", "two"]);
});

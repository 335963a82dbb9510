import { assertEquals, assertStringIncludes } from "@std/assert";
import { RunningProgram } from "../../support/program.ts";
import { startServerProcess } from "../../support/server_process.ts";
import { type RunningExample, startExample } from "../../support/start_example.ts";
import type { Answer } from "../../support/start_proxy.ts";

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
  for (const part of [`on ${url}\n`, `curl -v "${url}"\n`, `curl -v "${url}" -H "appid: myclient"\n`]) {
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

Deno.test("examples/quickstart with --admin and --demo-load names its dashboard, which has something to show", async () => {
  await using example = await startExample("quickstart", { args: ["--demo-load", "--admin=127.0.0.1:0"] });
  const [, address] = await example.program.stderrMatch(/Admin page at http:\/\/(\S+)\//);
  await example.program.stdoutMatch(/access GET "\/orders[^]*limited=/);
  const response = await fetch(`http://${address}/status`);
  const { requests, limits } = await response.json();
  assertEquals([requests.arrived > 0, limits[0].decisions.refused > 0], [true, true]);
});

Deno.test("examples/quickstart gives ten requests to its two servers in turn", async () => {
  await using example = await startExample("quickstart");
  const names: (string | undefined)[] = [];
  for (let n = 0; n < 10; n++) names.push((await example.ask("GET /")).field("x-upstream"));
  assertEquals(names.slice(2), names.slice(0, -2));
  assertEquals(names.slice(0, 2).sort(), ["one", "two"]);
});

Deno.test("examples/quickstart fails no GET while a server is killed and comes back", async () => {
  await using one = await startServerProcess("one");
  await using two = await startServerProcess("two");
  await using example = await startExample("quickstart", {
    set: { "upstreams.servers": [one.address, two.address] },
  });
  const names = async (count: number): Promise<string[]> => {
    const found: string[] = [];
    for (let n = 0; n < count; n++) {
      const { status, text } = await example.ask("GET /");
      found.push(status === 200 ? text : `status ${status}`);
    }
    return found;
  };
  assertEquals((await names(10)).sort(), [...Array(5).fill("one"), ...Array(5).fill("two")]);

  await one.kill();
  const sinceKilled = await names(20);
  await example.program.stderrMatch(/ warn Server \S+ of pool default is unhealthy: .* \(1 of 2 healthy\)\n/);
  assertEquals([...sinceKilled, ...await names(10)], Array(30).fill("two"));

  await using _again = await startServerProcess("one", one.port);
  await example.program.stderrMatch(/ info Server \S+ of pool default is healthy \(2 of 2 healthy\)\n/);
  assertEquals((await names(10)).sort(), [...Array(5).fill("one"), ...Array(5).fill("two")]);
});

Deno.test("deno task start runs the quick start, and hands the signal to stop on to it", async () => {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["task", "start", "--listen", "127.0.0.1:0", "--admin=127.0.0.1:0"],
    cwd: new URL("../../../", import.meta.url),
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
  await using program = new RunningProgram(command.spawn());
  try {
    const response = await fetch(`http://${await program.address()}/`);
    assertStringIncludes(await response.text(), "Hello from ");
  } finally {
    // Killed, the task would leave behind what it has started.
    program.kill("SIGTERM");
    assertEquals((await program.ended).code, 0);
  }
});

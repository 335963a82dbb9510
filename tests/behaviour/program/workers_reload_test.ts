/** What reloads leave behind in the memory that workers share. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Gate } from "../../support/gate.ts";
import { ProgramFolder, type RunningProgram } from "../../support/program.ts";
import { rawClient } from "../../support/raw_client.ts";
import type { RawConnection } from "../../support/raw_connection.ts";
import { askAt, readAnswer } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";
import { untilStill, untilTrue } from "../../support/until_still.ts";

/** How often a test asks for what comes soon, but not at once. */
const TRIES = 500;

/** A program with workers, two unless the configuration says otherwise, whose configuration changes. */
class ReloadedWorkers implements AsyncDisposable {
  readonly #folder: ProgramFolder;
  readonly program: RunningProgram;
  #generation = 1;

  private constructor(folder: ProgramFolder) {
    this.#folder = folder;
    this.program = folder.start(["proxy.config.ts"], ["-A"]);
  }

  /** @param files others in its folder */
  static async start(config: string, files: Readonly<Record<string, string>> = {}): Promise<ReloadedWorkers> {
    return new ReloadedWorkers(await ProgramFolder.with({ ...files, "proxy.config.ts": moduleOf(config) }));
  }

  async port(): Promise<number> {
    return Number((await this.program.address()).split(":").at(-1));
  }

  /** Has it run another configuration. */
  async reload(config: string): Promise<void> {
    await this.write(config);
    await this.program.stderrMatch(new RegExp(`Configuration ${++this.#generation} is in use \\(SIGHUP\\)`));
  }

  /** Tells it to load another configuration. */
  async write(config: string): Promise<void> {
    await this.writeFile("proxy.config.ts", moduleOf(config));
    this.program.kill("SIGHUP");
  }

  /** Writes a file of its folder. */
  async writeFile(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.#folder.path}/${name}`, text);
  }

  /** Whether its folder has this file or folder. */
  has(name: string): boolean {
    try {
      return Deno.statSync(`${this.#folder.path}/${name}`) !== null;
    } catch {
      return false;
    }
  }

  /** The processes: the one that looks after the workers comes first. */
  pids(): readonly number[] {
    const { pid } = this.program;
    const workers = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim().split(" ");
    return [pid, ...workers.map(Number)];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }
}

function moduleOf(config: string): string {
  const workers = config.includes("const workers =") ? "" : "export const workers = 2;";
  return `export const listen = "127.0.0.1:0"; ${workers} ${config}`;
}

/** That many pools of a server each, by names that no other number has; and the default one. */
function manyPools(address: string, number: number, count: number): string {
  return `
    export const upstreams = { default: ["${address}"] };
    for (let i = 0; i < ${count}; i++) upstreams["p${number}-" + i] = ["${address}"];
    export const filters = [{ requestFilter: () => new Response("${number}") }];
    export const metrics = false;`;
}

Deno.test("workers take the places of servers and pools again that a reload has removed", async () => {
  await using upstream = startUpstream("a");
  const { address } = upstream;
  await using workers = await ReloadedWorkers.start(manyPools(address, 0, 900));
  const port = await workers.port();
  // 1,802 places each, of 4,096: two configurations at a time find room.
  for (let number = 1; number <= 3; number++) {
    await workers.reload(manyPools(address, number, 900));
    assertEquals((await askAt(port)).text, String(number));
  }
});

Deno.test("a configuration with more servers than workers can share is refused, and takes no places", async () => {
  await using upstream = startUpstream("a");
  const { address } = upstream;
  await using workers = await ReloadedWorkers.start(manyPools(address, 0, 0));
  const port = await workers.port();
  const refused =
    "Configuration not loaded.*Workers share no more than 4096 servers, pools and retry budgets";
  for (let times = 1; times <= 2; times++) {
    await workers.write(manyPools(address, times, 2100));
    await workers.program.stderrMatch(new RegExp(`(?:${refused}[^]*){${times}}`));
    assertEquals((await askAt(port)).text, "0");
  }
  await workers.reload(manyPools(address, 3, 1500));
  assertEquals((await askAt(port)).text, "3");
});

Deno.test("a request that outlives its configuration is counted out of no other server of workers", async () => {
  await using gate = new Gate();
  const { address } = gate.upstream;
  // All places but six: what is given back is soon taken again.
  const configOf = (name: string) => `
    export const upstreams = {
      filler: Array.from({ length: 4088 }, (_, index) => "127.0.0.1:" + (index + 1)),
      ${name}: [{ address: "${address}", maxInFlight: 1 }],
    };
    export const routes = [{ match: { path: "/" }, upstream: "${name}" }];
    export const metrics = false;`;
  await using workers = await ReloadedWorkers.start(configOf("first"));
  const port = await workers.port();
  const held = askAt(port);
  await gate.untilWaiting(1);
  for (const name of ["second", "third", "fourth"]) await workers.reload(configOf(name));
  const next = askAt(port);
  await gate.untilWaiting(2);
  assertEquals((await askAt(port)).status, 503);
  gate.answer("old");
  assertEquals((await held).text, "old");
  // Still one at a time.
  assertEquals((await askAt(port)).status, 503);
  gate.answer("new");
  assertEquals((await next).text, "new");
});

Deno.test("workers let go of the counts of limits that a reload has replaced, and new ones get their own", async () => {
  await using upstream = startUpstream("a");
  await using gate = new Gate();
  const upstreams = `
    export const upstreams = { default: ["${upstream.address}"], held: ["${gate.upstream.address}"] };
    export const routes = [{ match: { path: "/held" }, upstream: "held" }, { match: { path: "/" } }];`;
  const limited = (number: number) =>
    `${upstreams} export const limiter = Array.from({ length: ${1 + number % 5} }, (_, index) => (
      { name: "n${number}-" + index, key: "header:appid", limit: 3, window: "1h", maxKeys: ${
      1000 * number
    } }));`;
  await using workers = await ReloadedWorkers.start(upstreams);
  const port = await workers.port();
  const tables = () =>
    workers.pids().map((pid) => {
      const maps = Deno.readTextFileSync(`/proc/${pid}/maps`).match(/memfd:lbproxy/g) ?? [];
      const open = Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
        try {
          return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
        } catch {
          return "";
        }
      }).filter((path) => path.includes("memfd:lbproxy"));
      return [maps.length, open.length];
    });
  await workers.reload(limited(1));
  const once = tables();
  // It keeps one table where it is served, whose descriptor the supervisor soon gives to another.
  const held = askAt(port, "GET /held", ["appid: held"]);
  await gate.untilWaiting(1);
  for (let number = 2; number <= 12; number++) {
    await workers.reload(limited(number));
    const answers = await Promise.all(
      Array.from({ length: 16 }, () => askAt(port, "GET /", [`appid: a${number}`])),
    );
    assertEquals(answers.filter(({ status }) => status === 200).length, 3, `configuration ${number}`);
  }
  gate.answer();
  assertEquals((await held).status, 200);
  await untilTrue("as much as with one", () => String(tables()) === String(once));
});

Deno.test("metrics of what a reload has removed are gone, those that workers write too", async () => {
  await using upstream = startUpstream("a");
  const configOf = (name: string) => `
    export const admin = "127.0.0.1:0";
    export const upstreams = { default: ["${upstream.address}"], ${name}: ["${upstream.address}"] };
    export const limiter = { name: "of-${name}", key: "ip", limit: 1000, window: "1h" };`;
  await using workers = await ReloadedWorkers.start(configOf("before"));
  const port = await workers.port();
  const [, admin] = await workers.program.stderrMatch(/Admin page at http:\/\/(127\.0\.0\.1:\d+)\//);
  const metrics = async () => await (await fetch(`http://${admin}/metrics`)).text();
  const untilMetrics = async (holds: (text: string) => boolean) => {
    for (let i = 0; i < TRIES && !holds(await metrics()); i++) await new Promise((go) => setTimeout(go, 20));
    return await metrics();
  };
  const queueOf = (name: string) => `lbproxy_upstream_queue_length{pool="${name}"} 0`;
  assertEquals((await askAt(port)).text, "a");
  assertStringIncludes(await untilMetrics((text) => text.includes(queueOf("before"))), queueOf("before"));
  await workers.reload(configOf("after"));
  const text = await untilMetrics((text) => text.includes(queueOf("after")) && !text.includes("before"));
  assertStringIncludes(text, queueOf("after"));
  assertEquals(text.split("\n").filter((line) => line.includes("before")), []);
});

Deno.test("workers say where they count, and no more often than others need to know", async () => {
  await using upstream = startUpstream("a");
  const configOf = (number: number) => `
    export const upstreams = { default: ["${upstream.address}"] };
    for (let i = 0; i < 150; i++) upstreams["p${number}-" + i] = ["${upstream.address}"];`;
  await using workers = await ReloadedWorkers.start(configOf(0));
  await workers.port();
  const [, ...pids] = workers.pids();
  const written = () => {
    const bytes = pids.map((pid) =>
      Number(/^wchar: (\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/io`))![1])
    );
    return bytes.reduce((sum, each) => sum + each, 0);
  };
  const before = written();
  await workers.reload(configOf(1));
  // 1.1 MB; 5.8 MB with a list for each change.
  const bytes = written() - before;
  assert(bytes < 3 * 2 ** 20, `${bytes} bytes were written`);
});

Deno.test("workers learn of servers that are found while they load a configuration", async () => {
  await using first = startUpstream("first");
  await using second = startUpstream("second");
  await using gate = new Gate();
  const configOf = (number: number) => `
    if (${number} > 0 && Deno.args.includes("--worker-process")) await fetch("http://${gate.upstream.address}/");
    let last = "";
    const discover = async (signal) => {
      const found = await Deno.readTextFile("servers.json");
      console.error("FOUND ${number} " + found);
      // Nothing is found twice, so that nobody is told twice.
      if (found === last && !found.includes("${first.address}")) {
        await new Promise((_, reject) => signal.addEventListener("abort", reject));
      }
      last = found;
      return JSON.parse(found);
    };
    export const upstreams = { discovery: { type: "custom", discover, interval: "50ms", timeout: "1h" } };`;
  await using workers = await ReloadedWorkers.start(configOf(0), { "servers.json": `["${first.address}"]` });
  const port = await workers.port();
  assertEquals((await askAt(port)).text, "first");
  await workers.write(configOf(1));
  await gate.untilWaiting(2);
  await workers.writeFile("servers.json", `["${second.address}"]`);
  // The first of the two has been taken in by then.
  await workers.program.stderrMatch(new RegExp(`(?:FOUND 1 \\["${second.address}[^]*){2}`));
  gate.answer();
  gate.answer();
  await workers.program.stderrMatch(/Configuration 2 is in use/);
  const answers = await Promise.all(Array.from({ length: 16 }, () => askAt(port)));
  assertEquals(new Set(answers.map(({ text }) => text)), new Set(["second"]));
});

Deno.test("workers always have a server while all servers of a pool are replaced", async () => {
  await using first = startUpstream("first");
  await using second = startUpstream("second");
  await using workers = await ReloadedWorkers.start(`
    let turn = 0;
    const discover = () => [["${first.address}"], ["${second.address}"]][turn++ % 2];
    export const upstreams = { discovery: { type: "custom", discover, interval: "10ms" } };`);
  const port = await workers.port();
  const seen = new Map<string, number>();
  const ask = async () => {
    for (let i = 0; i < 150; i++) {
      const { status, text } = await askAt(port);
      const response = status === 200 ? text : String(status);
      seen.set(response, (seen.get(response) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: 8 }, ask));
  assertEquals([...seen.keys()].toSorted(), ["first", "second"], JSON.stringify([...seen]));
});

/** Asks by new connections until each of these workers has a request that waits. */
async function holdAt(
  port: number,
  pids: readonly number[],
  gate: Gate,
): Promise<Map<number, RawConnection>> {
  const held = new Map<number, RawConnection>();
  for (let i = 0; i < TRIES && !pids.every((pid) => held.has(pid)); i++) {
    const connection = await rawClient(port);
    await connection.write("GET /pid HTTP/1.1\r\nHost: h\r\n\r\n");
    const pid = Number((await readAnswer(connection)).text);
    if (held.has(pid) || !pids.includes(pid)) connection[Symbol.dispose]();
    else held.set(pid, connection);
  }
  for (const [index, pid] of pids.entries()) {
    await held.get(pid)!.write("GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
    await gate.untilWaiting(index + 1);
  }
  return held;
}

/** A proxy whose workers say who they are. */
function shownWorkers(address: string, count: number): string {
  return `export const upstreams = ["${address}"]; export const workers = ${count};
    export const filters = [{
      requestFilter: (_, ctx) => ctx.target === "/pid" ? new Response(String(Deno.pid)) : undefined,
    }];`;
}

Deno.test("a worker that is one too many finishes its requests, also when the proxy stops", async () => {
  await using gate = new Gate();
  await using workers = await ReloadedWorkers.start(shownWorkers(gate.upstream.address, 2));
  const port = await workers.port();
  const [, first, second] = workers.pids() as [number, number, number];
  const held = await holdAt(port, [first, second], gate);
  using one = held.get(first)!;
  using other = held.get(second)!;
  await workers.reload(shownWorkers(gate.upstream.address, 1));
  workers.program.kill("SIGTERM");
  await workers.program.stderrMatch(/Stopping \(SIGTERM\)/);
  gate.answer("one");
  assertEquals((await readAnswer(one)).text, "one");
  await untilTrue("the first worker has ended", () => !workers.pids().includes(first));
  // The proxy does not end before the other worker.
  assertEquals(await untilStill(() => workers.pids().length), 2);
  gate.answer("other");
  assertEquals((await readAnswer(other)).text, "other");
  assertEquals((await workers.program.ended).code, 0);
});

Deno.test("a worker that is one too many and does not respond is killed", async () => {
  await using gate = new Gate();
  const short = `export const gracePeriod = "100ms";`;
  await using workers = await ReloadedWorkers.start(shownWorkers(gate.upstream.address, 2) + short);
  const port = await workers.port();
  const [, , second] = workers.pids() as [number, number, number];
  using _held = (await holdAt(port, [second], gate)).get(second)!;
  await workers.reload(shownWorkers(gate.upstream.address, 1) + short);
  Deno.kill(second, "SIGSTOP");
  await untilTrue("the worker has ended", () => !workers.pids().includes(second));
});

/** Responds with a number; loads in workers as this code says. */
function numbered(address: string, number: number, loading = ""): string {
  return `export const upstreams = ["${address}"];
    export const filters = [{ requestFilter: () => new Response("${number}") }];
    const isFirst = (name) => {
      try {
        Deno.mkdirSync(import.meta.dirname + "/" + name);
        return true;
      } catch {
        return false;
      }
    };
    const until = async (name) => {
      console.error("loads " + name);
      while (true) {
        try {
          Deno.statSync(import.meta.dirname + "/" + name);
          return;
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
    };
    if (Deno.args.includes("--worker-process")) { ${loading} }`;
}

Deno.test("a worker never serves a configuration that another one refused, even if it still loads it at the next reload", async () => {
  await using upstream = startUpstream("a");
  const { address } = upstream;
  await using workers = await ReloadedWorkers.start(numbered(address, 1));
  const port = await workers.port();
  await workers.write(
    numbered(address, 2, `if (isFirst("refused")) throw new Error("no"); await until("second");`),
  );
  await workers.program.stderrMatch(/loads second\n/);
  await workers.program.stderrMatch(/Configuration not loaded \(SIGHUP\)/);
  // The other worker loads this one at once; the slow one only when the test lets it.
  await workers.write(numbered(address, 3, `if (!isFirst("loaded")) await until("third");`));
  const ask = async () =>
    new Set((await Promise.all(Array(16).fill(port).map((at) => askAt(at)))).map(({ text }) => text));
  await untilTrue("a worker has loaded the third", () => workers.has("loaded"));
  await workers.writeFile("second", "");
  await workers.program.stderrMatch(/loads third\n/);
  assertEquals(await ask(), new Set(["1"]));
  await workers.writeFile("third", "");
  await workers.program.stderrMatch(/Configuration 2 is in use \(SIGHUP\)/);
  assertEquals(await ask(), new Set(["3"]));
});

/** What reloads leave behind in the memory that workers share. */

import { assertEquals } from "@std/assert";
import { Gate } from "../../support/gate.ts";
import { ProgramFolder, type RunningProgram } from "../../support/program.ts";
import { askAt } from "../../support/start_proxy.ts";
import { startUpstream } from "../../support/start_upstream.ts";

/** A program with two workers whose configuration changes. */
class ReloadedWorkers implements AsyncDisposable {
  readonly #folder: ProgramFolder;
  readonly program: RunningProgram;
  #generation = 1;

  private constructor(folder: ProgramFolder, args: readonly string[]) {
    this.#folder = folder;
    this.program = folder.start(["proxy.config.ts", "--workers", "2", ...args], ["-A"]);
  }

  static async start(config: string, ...args: string[]): Promise<ReloadedWorkers> {
    return new ReloadedWorkers(await ProgramFolder.with({ "proxy.config.ts": moduleOf(config) }), args);
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
    await Deno.writeTextFile(`${this.#folder.path}/proxy.config.ts`, moduleOf(config));
    this.program.kill("SIGHUP");
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
  return `export const listen = "127.0.0.1:0"; ${config}`;
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
  const upstreams = `export const upstreams = ["${upstream.address}"];`;
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
  for (let number = 2; number <= 12; number++) {
    await workers.reload(limited(number));
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => askAt(port, "GET /", [`appid: a${number}`])),
    );
    assertEquals(answers.filter(({ status }) => status === 200).length, 3, `configuration ${number}`);
  }
  // As much as with one.
  assertEquals(tables(), once);
});

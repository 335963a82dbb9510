/** Half a minute in the life of a proxy whose servers come, go, hang and slow down while clients keep asking. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { startServerProcess } from "../../support/server_process.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";

const PHASE_MS = 5000;
const CLIENTS = 12;
/** Between two requests of a client: the load is given and not the most that the machine can do. */
const PAUSE_MS = 4;

/** Clients that ask, one request after the other, until they are stopped. */
class Load implements AsyncDisposable {
  readonly #proxy: TestProxy;
  readonly #clients: Promise<void>[];
  #counts = new Map<string, number>();
  #stopped = false;
  /** What was no answer of a server. */
  readonly failures: string[] = [];

  constructor(proxy: TestProxy) {
    this.#proxy = proxy;
    this.#clients = Array.from({ length: CLIENTS }, () => this.#ask());
  }

  async #ask(): Promise<void> {
    while (!this.#stopped) {
      // Those of the phase in which the request began.
      const counts = this.#counts;
      const response = await this.#proxy.fetch("/");
      const text = await response.text();
      if (response.status === 200) counts.set(text, (counts.get(text) ?? 0) + 1);
      else this.failures.push(`${response.status} ${text}`);
      await pause(PAUSE_MS);
    }
  }

  /** Lets a phase pass, and tells how many requests each server answered in it. */
  async phase(ms = PHASE_MS): Promise<Map<string, number>> {
    this.#counts = new Map();
    await pause(ms);
    return this.#counts;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The servers that answered, and that none of them answered much more or less than its share. */
function assertEven(counts: Map<string, number>, names: string): void {
  assertEquals([...counts.keys()].sort().join(""), names);
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  for (const [name, count] of counts) {
    const share = count / total * counts.size;
    assert(share > 0.8 && share < 1.2, `${name} has ${count} of ${total}, one of ${counts.size}`);
  }
}

Deno.test("proxy fails no request while servers are killed, hang, slow down, come and go", async () => {
  await using stack = new AsyncDisposableStack();
  const start = async (name: string) => stack.use(await startServerProcess(name));
  const [a, b, c, d, e, f] = await Promise.all([..."abcdef"].map(start));
  await using proxy = await startProxy({
    upstreams: {
      servers: [a!, b!, c!, d!, e!, f!].map(({ address }) => address),
      balance: "least-connections",
      healthCheck: { type: "http", path: "/health", interval: "250ms", timeout: "500ms", fall: 2 },
      timeouts: { response: "500ms" },
    },
  });
  const pool = proxy.server.pools.get("default")!;
  await using load = new Load(proxy);

  assertEven(await load.phase(), "abcdef");

  await Promise.all([a!.kill(), b!.kill()]);
  await proxy.seen.until(() => pool.servers.filter(({ eligible }) => !eligible).length === 2);
  assertEven(await load.phase(), "cdef");

  c!.hang();
  await proxy.seen.until(() => !pool.server(c!.address)!.eligible);
  // Whoever was waiting for it when it went has been sent on after the timeout.
  await proxy.seen.until(() => pool.server(c!.address)!.inFlight === 0);
  const tried = pool.server(c!.address)!.requests;
  assertEven(await load.phase(), "def");
  assertEquals(pool.server(c!.address)!.requests, tried);

  await d!.delay(60);
  const slowed = await load.phase();
  assertLess(slowed.get("d")!, slowed.get("e")! / 2);
  assertLess(slowed.get("d")!, slowed.get("f")! / 2);

  const g = await start("g");
  pool.addServer(g.address);
  await proxy.seen.until(() => pool.server(g.address)!.requests > 0);
  await d!.delay(0);
  // Answers that were slow already may still come.
  await load.phase(500);
  assertEven(await load.phase(), "defg");

  await pool.removeServer(e!.address);
  assertEven(await load.phase(), "dfg");

  await load.stop();
  assertEquals(load.failures, []);
  assert(proxy.seen.entries.every(({ status }) => status === 200));
});

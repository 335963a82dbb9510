import { assertEquals } from "@std/assert";
import { RunningRequests } from "../../../lib/proxy/overload_limit.ts";

type RunningRequest = Parameters<RunningRequests["add"]>[0];

/** A request that is over as soon as it is called off, as one is whose response is on its way. */
class FakeExchange implements RunningRequest {
  status = 0;
  runningIndex = -1;
  upgrade: { webSocket: unknown } | null = null;
  abandoned = 0;
  readonly #running: RunningRequests;

  constructor(running: RunningRequests) {
    this.#running = running;
  }

  abandon(): void {
    this.abandoned++;
    this.#running.delete(this);
  }
}

function start(count: number): { running: RunningRequests; exchanges: FakeExchange[] } {
  const running = new RunningRequests();
  const exchanges = Array.from({ length: count }, () => new FakeExchange(running));
  for (const exchange of exchanges) running.add(exchange);
  return { running, exchanges };
}

Deno.test("RunningRequests calls off every request once although each leaves while it does", () => {
  const { running, exchanges } = start(5);
  running.abandon();
  assertEquals(exchanges.map(({ abandoned }) => abandoned), [1, 1, 1, 1, 1]);
  assertEquals(running.size, 0);
});

Deno.test("RunningRequests lets go of the first, of one in between, and of the last", () => {
  for (const gone of [0, 2, 4]) {
    const { running, exchanges } = start(5);
    running.delete(exchanges[gone]!);
    assertEquals(running.size, 4);
    running.abandon();
    assertEquals(exchanges.map(({ abandoned }) => abandoned), [0, 1, 2, 3, 4].map((i) => i === gone ? 0 : 1));
  }
});

Deno.test("RunningRequests takes a request that is over for one that it does not have", () => {
  const { running, exchanges } = start(2);
  running.delete(exchanges[0]!);
  running.delete(exchanges[0]!);
  assertEquals(running.size, 1);
});

Deno.test("RunningRequests.endTunnels() calls WebSockets off, and nothing else", () => {
  const { running, exchanges } = start(5);
  for (const index of [1, 3]) exchanges[index]!.upgrade = { webSocket: {} };
  running.endTunnels();
  assertEquals(exchanges.map(({ abandoned }) => abandoned), [0, 1, 0, 1, 0]);
  assertEquals(running.size, 3);
});

Deno.test("RunningRequests tells each time that the last one is over", async () => {
  const { running, exchanges } = start(1);
  for (const exchange of [exchanges[0]!, new FakeExchange(running)]) {
    if (running.size === 0) running.add(exchange);
    let empty = false;
    const told = running.untilEmpty().then(() => empty = true);
    await Promise.resolve();
    assertEquals(empty, false);
    running.delete(exchange);
    await told;
  }
  await running.untilEmpty();
});

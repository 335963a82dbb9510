import { assertEquals } from "@std/assert";
import { DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { ClientPings } from "../../../../lib/engine/deno/web_socket_relay.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

const MIB = 1024 * 1024;
const INTERVAL_MS = 30_000;

/** The runtime's side of a client, which notes when its wait is restarted. */
class FakeClient {
  readonly #clock: FakeClock;
  readyState: number = WebSocket.OPEN;
  bufferedAmount = 0;
  /** When it was, in milliseconds from the beginning. */
  readonly restarts: number[] = [];

  constructor(clock: FakeClock) {
    this.#clock = clock;
    const begin = clock.now();
    const name = Object.getOwnPropertySymbols(WebSocket.prototype)
      .find(({ description }) => description === "[[serverHandleIdleTimeout]]")!;
    Object.assign(this, { [name]: () => this.restarts.push(this.#clock.now() - begin) });
  }
}

function scene(intervalMs = INTERVAL_MS) {
  const clock = new FakeClock();
  const client = new FakeClient(clock);
  const wheel = new DeadlineWheel({ clock, tickMs: 10 });
  const pings = new ClientPings({ client: client as unknown as WebSocket, wheel, intervalMs });
  return { clock, client, wheel, pings };
}

/** How long after one restart the next came, in tenths of the interval. */
function gaps({ restarts }: FakeClient): number[] {
  return restarts.slice(1).map((at, i) => Math.floor((at - restarts[i]!) / (INTERVAL_MS / 10)));
}

Deno.test("ClientPings leaves clients alone that read what they are sent within half an interval", () => {
  const { clock, client, wheel, pings } = scene();
  for (let i = 0; i < 100; i++) {
    // Eight bytes a millisecond: 10 seconds.
    pings.sent(80_000, 0);
    clock.tick(10_000);
  }
  assertEquals([client.restarts, wheel.pending], [[], 0]);
});

Deno.test("ClientPings has no ping sent while something waits in the process", () => {
  const { clock, client, wheel, pings } = scene();
  client.bufferedAmount = MIB;
  pings.sent(8 * MIB, MIB);
  clock.tick(20 * INTERVAL_MS);
  assertEquals([client.restarts[0], new Set(gaps(client)), pings.isBusy], [0, new Set([5]), true]);
  // However long: only the end of the connection tells of a client that takes nothing.
  clock.tick(20 * INTERVAL_MS);
  assertEquals([new Set(gaps(client)), pings.isBusy], [new Set([5]), false]);
  client.readyState = WebSocket.CLOSING;
  clock.tick(INTERVAL_MS);
  assertEquals(wheel.pending, 0);
});

Deno.test("ClientPings has pings sent after that, and no pong waited for before its time", () => {
  const { clock, client, wheel, pings } = scene();
  // 2^20 / 8 ms, which is 131 seconds.
  pings.sent(MIB, 0);
  clock.tick(10 * INTERVAL_MS);
  assertEquals([client.restarts[0], gaps(client)], [0, [5, 12, 12, 12]]);
  assertEquals([wheel.pending, pings.isBusy], [0, false]);
  pings.sent(MIB, 0);
  clock.tick(INTERVAL_MS);
  assertEquals(client.restarts.length > 5, true);
  pings[Symbol.dispose]();
  assertEquals(wheel.pending, 0);
});

Deno.test("ClientPings restarts at most twice an interval, however much is sent", () => {
  const { clock, client, pings } = scene();
  for (let i = 0; i < 1000; i++) {
    pings.sent(MIB, MIB);
    clock.tick(INTERVAL_MS / 100);
  }
  assertEquals(client.restarts.length <= 21, true, `${client.restarts.length} restarts`);
});

Deno.test("ClientPings does nothing where nobody is pinged", () => {
  const { client, wheel, pings } = scene(Infinity);
  client.bufferedAmount = MIB;
  pings.sent(8 * MIB, MIB);
  assertEquals([client.restarts, wheel.pending, pings.isBusy], [[], 0, true]);
});

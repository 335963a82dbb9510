import { assertEquals } from "@std/assert";
import { Cancellation, DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { WebSocketRelay } from "../../../../lib/engine/deno/web_socket_relay.ts";
import { resolveWebSocket } from "../../../../lib/transport/websocket/web_socket_options.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { ScriptedSocket } from "../../../support/scripted_socket.ts";

/** The runtime's side of a client, which notes when it is closed. */
class FakeClient {
  readyState: number = WebSocket.OPEN;
  bufferedAmount = 0;
  onopen = () => {};
  onmessage = (_message: { data: string }) => {};
  onclose = (_end: { code: number; reason: string }) => {};
  readonly closed: [atMs: number, code: number, reason: string][] = [];
  readonly #clock: FakeClock;
  readonly #begin: number;

  constructor(clock: FakeClock) {
    this.#clock = clock;
    this.#begin = clock.now();
  }

  close(code: number, reason: string): void {
    this.readyState = WebSocket.CLOSING;
    this.closed.push([this.#clock.now() - this.#begin, code, reason]);
  }
}

/** A client that has just sent what is too much. */
async function refused() {
  const clock = new FakeClock();
  const client = new FakeClient(clock);
  const wheel = new DeadlineWheel({ clock, tickMs: 10 });
  const socket = new ScriptedSocket();
  let ends = 0;
  new WebSocketRelay(client as unknown as WebSocket, {
    protocol: "websocket",
    webSocket: resolveWebSocket({ maxMessageSize: 3 }),
    cancellation: new Cancellation(),
    wheel,
    tunnel: { socket: socket.conn, first: new Uint8Array(0), [Symbol.dispose]: () => socket.close() },
    sent: () => {},
    ended: () => ends++,
  });
  client.onopen();
  client.onmessage({ data: "four" });
  await clock.advance(0);
  return { clock, client, wheel, socket, ends: () => ends };
}

Deno.test("WebSocketRelay tells a client that it is refused once it sends nothing for a while", async () => {
  const { clock, client, wheel, socket, ends } = await refused();
  // The server responds to being told of it.
  await socket.receive("\x88\x02\x03\xe9");
  for (let i = 0; i < 10; i++) {
    await clock.advance(200);
    client.onmessage({ data: "more" });
  }
  assertEquals(client.closed, []);
  await clock.advance(300);
  const [[atMs, ...end] = [0], ...more] = client.closed;
  assertEquals([end, more], [[1009, "a message is longer than 3 bytes"], []]);
  assertEquals(atMs >= 2250 && atMs <= 2300, true, `${atMs} ms`);
  client.onclose({ code: 1009, reason: "" });
  await clock.advance(60_000);
  assertEquals([ends(), wheel.pending], [1, 0]);
});

Deno.test("WebSocketRelay closes a client that goes on sending though it is refused", async () => {
  const { clock, client } = await refused();
  for (let i = 0; i < 30; i++) {
    await clock.advance(200);
    if (client.readyState === WebSocket.OPEN) client.onmessage({ data: "more" });
  }
  const [[atMs, code] = [0], ...more] = client.closed;
  assertEquals([code, more], [1009, []]);
  assertEquals(atMs >= 5000 && atMs <= 5500, true, `${atMs} ms`);
});

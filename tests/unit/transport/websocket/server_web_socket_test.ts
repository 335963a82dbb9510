import { assertEquals } from "@std/assert";
import { DeadlineWheel } from "../../../../lib/core/cancellation.ts";
import { type Incoming, MessageReader } from "../../../../lib/transport/websocket/messages.ts";
import { ServerWebSocket } from "../../../../lib/transport/websocket/server_web_socket.ts";
import { FakeClock } from "../../../support/fake_clock.ts";
import { latin1Bytes, latin1Text } from "../../../support/raw_connection.ts";
import { ScriptedSocket, turns } from "../../../support/scripted_socket.ts";
import { frame } from "../../../support/web_socket_frames.ts";

const PING_MS = 1000;

/** A WebSocket whose server and clock the test plays. */
class Scene implements Disposable {
  readonly clock = new FakeClock();
  readonly wheel = new DeadlineWheel({ clock: this.clock });
  readonly socket = new ScriptedSocket();
  /** What was heard of the server, in order. */
  readonly heard: unknown[] = [];
  /** How often there was a sign of life. */
  alive = 0;
  /** What is returned for the next message. */
  hold: Promise<void> | undefined;
  readonly web: ServerWebSocket;

  constructor() {
    this.web = new ServerWebSocket({
      tunnel: {
        socket: this.socket.conn,
        first: new Uint8Array(0),
        [Symbol.dispose]: () => this.socket.close(),
      },
      wheel: this.wheel,
      maxMessageBytes: 1 << 24,
      pingIntervalMs: PING_MS,
      listener: {
        message: (data) => {
          this.heard.push(data);
          return this.hold;
        },
        alive: () => void this.alive++,
        ended: (...end) => void this.heard.push(end),
        closed: () => void this.heard.push("closed"),
      },
    });
    this.web.start();
  }

  /** The server sends bytes. */
  receive(...bytes: number[]): Promise<void> {
    return this.socket.receive(latin1Text(Uint8Array.from(bytes)));
  }

  /** What the server has been sent, and not asked for before. */
  sent(): Incoming[] {
    const first = latin1Bytes(this.socket.writes.splice(0).join(""));
    const reader = new MessageReader({ masked: true, maxMessageBytes: 1 << 24, first });
    const all: Incoming[] = [];
    for (let next = reader.next(); next !== null; next = reader.next()) all.push(next);
    return all;
  }

  /** The same, by kind. */
  sentKinds(): string[] {
    return this.sent().map(({ kind }) => kind);
  }

  [Symbol.dispose](): void {
    this.web[Symbol.dispose]();
    this.wheel[Symbol.dispose]();
  }
}

const NO_PONG = [1006, "", "the server does not respond to pings"];

Deno.test("ServerWebSocket pings, and cuts off a server that sends nothing for as long again", async () => {
  using scene = new Scene();
  await scene.clock.advance(PING_MS + 100);
  assertEquals([scene.sentKinds(), scene.heard], [["ping"], []]);
  await scene.clock.advance(PING_MS + 100);
  assertEquals([scene.heard, scene.socket.closed], [[NO_PONG, "closed"], true]);
});

Deno.test("ServerWebSocket takes any byte for a sign of life, and no pong for activity", async () => {
  using scene = new Scene();
  await scene.clock.advance(PING_MS + 100);
  await scene.receive(...frame(0xa));
  assertEquals(scene.alive, 0);
  // A message that takes long: a byte now and then.
  for (const byte of frame(0x1, [0x68, 0x69])) {
    await scene.clock.advance(PING_MS);
    await scene.receive(byte);
  }
  assertEquals([scene.heard, scene.alive], [["hi"], 2]);
  await scene.receive(...frame(0x9), ...frame(0x1));
  assertEquals([scene.heard, scene.alive], [["hi", ""], 4]);
});

Deno.test("ServerWebSocket does not judge a server that it holds back, and gives it an interval then", async () => {
  using scene = new Scene();
  const { promise, resolve } = Promise.withResolvers<void>();
  scene.hold = promise;
  await scene.receive(...frame(0x1, [0x61]));
  await scene.clock.advance(20 * PING_MS);
  // It is pinged all the same, since it may wait for that.
  assertEquals(scene.sentKinds().length >= 15, true);
  assertEquals(scene.heard, ["a"]);
  scene.hold = undefined;
  resolve();
  await turns();
  await scene.clock.advance(PING_MS + 100);
  assertEquals(scene.heard, ["a"]);
  await scene.clock.advance(PING_MS + 100);
  assertEquals(scene.heard, ["a", NO_PONG, "closed"]);
});

Deno.test("ServerWebSocket gives a slow server time for what was sent before a ping", async () => {
  using scene = new Scene();
  // Eight bytes a millisecond: 100 seconds.
  scene.web.send(new Uint8Array(800_000), false);
  await scene.clock.advance(99_000);
  assertEquals(scene.heard, []);
  await scene.clock.advance(2 * PING_MS + 1000);
  assertEquals(scene.heard, [NO_PONG, "closed"]);
});

Deno.test("ServerWebSocket goes by the last ping that a server has responded to", async () => {
  using scene = new Scene();
  scene.web.send(new Uint8Array(800_000), false);
  await scene.clock.advance(2 * PING_MS + 100);
  const pings = scene.sent().flatMap((each) => each.kind === "ping" ? [each.payload] : []);
  assertEquals(pings, [Uint8Array.of(1), Uint8Array.of(2)]);
  // What responds to an earlier one, or to none, tells nothing of what was sent later.
  await scene.receive(...frame(0xa, [1]), ...frame(0xa));
  await scene.clock.advance(3 * PING_MS);
  assertEquals(scene.heard, []);
  await scene.receive(...frame(0xa, [5]));
  await scene.clock.advance(2 * PING_MS + 100);
  assertEquals(scene.heard, [NO_PONG, "closed"]);
});

Deno.test("ServerWebSocket closes behind what waits, which a slow server has the time for", async () => {
  using scene = new Scene();
  scene.socket.holdWrites();
  for (let i = 0; i < 10; i++) scene.web.send(new Uint8Array(80_000), false);
  scene.web.close(1000, "done");
  await scene.clock.advance(4000);
  scene.socket.letWritesGo();
  await turns();
  await scene.clock.advance(90_000);
  assertEquals(scene.heard, []);
  assertEquals(scene.sent().at(-1), { kind: "close", code: 1000, reason: "done" });
  await scene.receive(...frame(0x8, [3, 0xe8]));
  assertEquals(scene.heard, [[1000, "", null]]);
  // The server closes the connection first (RFC 6455 section 7.1.1).
  assertEquals([scene.socket.writeClosed, scene.socket.closed], [true, false]);
  await scene.socket.end();
  assertEquals([scene.heard, scene.socket.closed], [[[1000, "", null], "closed"], true]);
});

Deno.test("ServerWebSocket does not wait for long for a server that closes no connection", async () => {
  using scene = new Scene();
  scene.web.send(new Uint8Array(80_000), false);
  scene.web.close(1000, "");
  await scene.receive(...frame(0x8, [3, 0xe8]));
  await scene.clock.advance(400);
  assertEquals([scene.heard, scene.socket.closed], [[[1000, "", null]], false]);
  await scene.clock.advance(200);
  assertEquals([scene.heard, scene.socket.closed], [[[1000, "", null], "closed"], true]);
});

Deno.test("ServerWebSocket waits for a server to close only as long as it may be busy", async () => {
  using scene = new Scene();
  scene.web.send(new Uint8Array(80_000), false);
  scene.web.close(1000, "");
  await scene.clock.advance(9900);
  assertEquals(scene.heard, []);
  await scene.clock.advance(5200);
  assertEquals(scene.heard, [[1006, "", null], "closed"]);
});

Deno.test("ServerWebSocket closes within the time that it is given", async () => {
  using scene = new Scene();
  scene.web.send(new Uint8Array(800_000), false);
  scene.web.close(1001, "");
  await scene.clock.advance(1000);
  scene.web.close(1001, "", 500);
  await scene.clock.advance(600);
  assertEquals(scene.heard, [[1006, "", null], "closed"]);
});

Deno.test("ServerWebSocket keeps one pong for a server that pings and does not read", async () => {
  using scene = new Scene();
  scene.socket.holdWrites();
  scene.web.send(new Uint8Array(1), false);
  for (let i = 0; i < 300; i++) await scene.receive(...frame(0x9, [i & 255]));
  scene.socket.letWritesGo();
  await turns();
  assertEquals(scene.socket.writes.map(({ length }) => length), [7, 7]);
  assertEquals(scene.sentKinds(), ["message", "pong"]);
});

Deno.test("ServerWebSocket tells a server what it did wrong before all that waits, and hears it out", async () => {
  using scene = new Scene();
  scene.socket.holdWrites();
  scene.web.send(new Uint8Array(1), false);
  scene.web.send(new Uint8Array(2), false);
  await scene.receive(...frame(0x3));
  const problem = "a frame is of kind 3, which does not exist";
  assertEquals(scene.heard, [[1006, "", problem]]);
  scene.socket.letWritesGo();
  await turns();
  assertEquals(scene.sent(), [
    { kind: "message", data: Uint8Array.of(0), bytes: 1 },
    { kind: "close", code: 1002, reason: "" },
  ]);
  // Closed now, with something unread, the connection would be reset and the frame lost.
  assertEquals([scene.socket.writeClosed, scene.socket.closed], [true, false]);
  await scene.receive(...frame(0x1, [0x61]));
  await scene.socket.end();
  assertEquals([scene.heard, scene.socket.closed], [[[1006, "", problem], "closed"], true]);
});

Deno.test("ServerWebSocket does not hear out a server that goes on for long", async () => {
  using scene = new Scene();
  scene.web.send(new Uint8Array(1 << 20), false);
  await scene.receive(0x83, 0);
  await scene.clock.advance(4900);
  assertEquals(scene.heard.length, 1);
  await scene.clock.advance(200);
  assertEquals([scene.heard.length, scene.heard[1], scene.socket.closed], [2, "closed", true]);
});

Deno.test("ServerWebSocket responds to a close frame before what waits", async () => {
  using scene = new Scene();
  scene.socket.holdWrites();
  scene.web.send(new Uint8Array(1), false);
  scene.web.send(new Uint8Array(2), false);
  await scene.receive(...frame(0x8, [3, 0xf6, 0x68, 0x69]), ...frame(0x1));
  assertEquals(scene.heard, [[1014, "hi", null]]);
  scene.socket.letWritesGo();
  await turns();
  assertEquals(scene.sent().slice(1), [{ kind: "close", code: 1014, reason: "hi" }]);
  await scene.socket.end();
  assertEquals(scene.heard, [[1014, "hi", null], "closed"]);
});

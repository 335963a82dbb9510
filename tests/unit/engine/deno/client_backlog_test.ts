import { assertEquals } from "@std/assert";
import { ClientBacklog } from "../../../../lib/engine/deno/web_socket_relay.ts";

const MIB = 1024 * 1024;

Deno.test("ClientBacklog is full with a mebibyte, until half of it has left", () => {
  const backlog = new ClientBacklog();
  backlog.sent(MIB, MIB);
  assertEquals([backlog.isFull, backlog.hasRoom], [false, false]);
  backlog.sent(1, MIB + 1);
  assertEquals(backlog.isFull, true);
  assertEquals([backlog.shrinks(MIB + 1), backlog.hasRoom], [false, false]);
  assertEquals([backlog.shrinks(MIB / 2 + 1), backlog.hasRoom], [true, false]);
  assertEquals([backlog.shrinks(MIB / 2), backlog.hasRoom, backlog.isFull], [true, true, false]);
});

Deno.test("ClientBacklog is full with 8192 messages, however short", () => {
  const backlog = new ClientBacklog();
  let waiting = 0;
  for (let i = 1; i < 8192; i++) backlog.sent(1, ++waiting);
  assertEquals(backlog.isFull, false);
  backlog.sent(1, ++waiting);
  assertEquals(backlog.isFull, true);
  // Half of the bytes gone tells of no message.
  assertEquals([backlog.shrinks(waiting / 2), backlog.hasRoom, backlog.isFull], [true, false, true]);
  assertEquals([backlog.shrinks(0), backlog.hasRoom, backlog.isFull], [true, true, false]);
});

Deno.test("ClientBacklog never fills while messages leave", () => {
  const backlog = new ClientBacklog();
  for (let i = 0; i < 100_000; i++) {
    // A thousand wait, and are gone.
    backlog.sent(3, 3 * (i % 1000 + 1));
    assertEquals(backlog.isFull, false);
  }
});

Deno.test("ClientBacklog lets one message go at a time after nothing but empty ones", () => {
  const backlog = new ClientBacklog();
  for (let i = 0; i < 8192; i++) backlog.sent(0, 0);
  for (let i = 0; i < 3; i++) {
    assertEquals(backlog.isFull, true);
    assertEquals([backlog.shrinks(0), backlog.hasRoom], [false, true]);
    backlog.sent(0, 0);
  }
  // One that has content tells of all before it when it has left.
  backlog.sent(1, 1);
  assertEquals(backlog.isFull, true);
  backlog.shrinks(0);
  assertEquals(backlog.isFull, false);
  backlog.sent(0, 0);
  assertEquals(backlog.isFull, false);
});

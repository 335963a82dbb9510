import { assertEquals } from "@std/assert";
import { Patience } from "../../../../lib/transport/websocket/web_socket_options.ts";

const MIB = 1024 * 1024;

Deno.test("Patience lasts as long as the slowest peer needs for what it was sent", () => {
  const patience = new Patience();
  assertEquals(patience.left(1000), 0);
  patience.sent(8000, 1000);
  assertEquals([patience.left(1000), patience.left(1400), patience.left(2000), patience.left(9000)], [
    1000,
    600,
    0,
    0,
  ]);
  // What was sent is behind what was sent before; after a rest it begins anew.
  patience.sent(8000, 1500);
  assertEquals(patience.left(1500), 1500);
  patience.sent(800, 10_000);
  assertEquals(patience.left(10_000), 100);
});

Deno.test("Patience is bounded by what may wait in the proxy and in the sockets", () => {
  const patience = new Patience();
  for (let i = 0; i < 100; i++) patience.sent(MIB, 0);
  assertEquals(patience.left(0), 4 * MIB / 8);
  for (let i = 0; i < 100; i++) patience.sent(MIB, 0, 16 * MIB);
  assertEquals(patience.left(0), 20 * MIB / 8);
  // What has left the proxy meanwhile counts no more.
  patience.sent(1, 0);
  assertEquals(patience.left(0), 4 * MIB / 8);
});

Deno.test("Patience of a peer that has responded lasts for what it was sent after it was asked", () => {
  const patience = new Patience();
  patience.sent(8000, 1000);
  patience.asked();
  patience.sent(800, 1000);
  assertEquals(patience.left(1000), 1100);
  patience.responded(1200);
  assertEquals(patience.left(1200), 100);
  // A response makes it no longer.
  patience.responded(1250);
  assertEquals(patience.left(1250), 50);
});

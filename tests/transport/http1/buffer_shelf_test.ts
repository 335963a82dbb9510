import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { BUFFER_BYTES, BufferShelf } from "../../../lib/transport/http1/buffer_shelf.ts";

Deno.test("BufferShelf gives a buffer out again only once it has been given back", () => {
  const shelf = new BufferShelf();
  const first = shelf.take();
  const second = shelf.take();
  assertNotStrictEquals(first.buffer, second.buffer);
  shelf.giveBack(first.subarray(10, 20));
  const again = shelf.take();
  assertStrictEquals(again.buffer, first.buffer);
  assertEquals([again.byteOffset, again.length], [0, BUFFER_BYTES]);
});

Deno.test("BufferShelf keeps no buffer of another size, and not any number", () => {
  const shelf = new BufferShelf();
  shelf.giveBack(new Uint8Array(BUFFER_BYTES * 2));
  assertEquals(shelf.size, 0);
  for (let i = 0; i < 1000; i++) shelf.giveBack(new Uint8Array(BUFFER_BYTES));
  assert(shelf.size < 100);
});

import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { BufferShelf, HUGE_BUFFER, LARGE_BUFFER, SMALL_BUFFER } from "../../../lib/http1/head_writer.ts";

const SIZES = [SMALL_BUFFER, LARGE_BUFFER, HUGE_BUFFER];

Deno.test("BufferShelf gives a buffer out again only once it has been given back", () => {
  const shelf = new BufferShelf();
  for (const size of SIZES) {
    const first = shelf.take(size);
    const second = shelf.take(size);
    assertNotStrictEquals(first.buffer, second.buffer);
    shelf.give(first);
    const again = shelf.take(size);
    assertStrictEquals(again, first);
    assertEquals([again.byteOffset, again.length], [0, size]);
  }
});

Deno.test("BufferShelf keeps no piece of a larger buffer, which two would write into", () => {
  const shelf = new BufferShelf();
  shelf.give(new Uint8Array(HUGE_BUFFER).subarray(10, 10 + SMALL_BUFFER));
  shelf.give(new Uint8Array(SMALL_BUFFER).subarray(1));
  assertEquals(shelf.size, 0);
});

Deno.test("BufferShelf keeps no buffer of another size, and not any number", () => {
  const shelf = new BufferShelf();
  shelf.give(new Uint8Array(SMALL_BUFFER * 2));
  shelf.give(new Uint8Array(0));
  assertEquals(shelf.size, 0);
  assertEquals(shelf.take(100).length, 100);
  for (let i = 0; i < 1000; i++) shelf.give(new Uint8Array(SMALL_BUFFER));
  assert(shelf.size <= 128);
});

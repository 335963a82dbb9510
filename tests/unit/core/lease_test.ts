import { assertEquals, assertThrows } from "@std/assert";
import { Lease } from "../../../lib/core/cancellation.ts";

Deno.test("Lease gives back exactly once, however it is released", () => {
  let released = 0;
  const lease = new Lease(() => released++);
  assertEquals([lease.released, released], [false, 0]);
  lease.release();
  lease.release();
  lease[Symbol.dispose]();
  assertEquals([lease.released, released], [true, 1]);
});

Deno.test("Lease is given back at the end of its block, also by an error", () => {
  let released = 0;
  assertThrows(() => {
    using _lease = new Lease(() => released++);
    throw new Error("broken");
  });
  assertEquals(released, 1);
});

Deno.test("Lease.release() may be called by what it calls", () => {
  let released = 0;
  const lease: Lease = new Lease(() => {
    released++;
    lease.release();
  });
  lease.release();
  assertEquals(released, 1);
});

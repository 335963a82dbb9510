import { assertEquals } from "@std/assert";
import { Cancellation } from "../../lib/core/cancellation.ts";

Deno.test("Cancellation.cancel() tells the listener at once and only once", () => {
  const cancellation = new Cancellation();
  const seen: unknown[] = [];
  cancellation.listen((reason) => seen.push(reason));
  assertEquals([cancellation.cancelled, cancellation.reason], [false, undefined]);
  cancellation.cancel("first");
  cancellation.cancel("second");
  assertEquals(seen, ["first"]);
  assertEquals([cancellation.cancelled, cancellation.reason], [true, "first"]);
});

Deno.test("Cancellation.listen() is called at once when it is too late", () => {
  const cancellation = new Cancellation();
  cancellation.cancel("gone");
  const seen: unknown[] = [];
  cancellation.listen((reason) => seen.push(reason));
  cancellation.listen(null);
  assertEquals(seen, ["gone"]);
});

Deno.test("Cancellation.listen() replaces the listener, and null removes it", () => {
  const cancellation = new Cancellation();
  const seen: string[] = [];
  cancellation.listen(() => seen.push("first"));
  cancellation.listen(() => seen.push("second"));
  cancellation.cancel("reason");
  assertEquals(seen, ["second"]);
  const quiet = new Cancellation();
  quiet.listen(() => seen.push("never"));
  quiet.listen(null);
  quiet.cancel("reason");
  assertEquals(seen, ["second"]);
});

Deno.test("Cancellation.cancel() may be called by the listener", () => {
  const cancellation = new Cancellation();
  let calls = 0;
  cancellation.listen(() => {
    calls++;
    cancellation.cancel("again");
  });
  cancellation.cancel("first");
  assertEquals([calls, cancellation.reason], [1, "first"]);
});

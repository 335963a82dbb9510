import { assertEquals } from "@std/assert";
import { dropLegacyAbortNotice } from "../../../lib/cli/run.ts";

Deno.test("dropLegacyAbortNotice() drops that notice and no other", () => {
  const printed: unknown[][] = [];
  const target = { warn: (...data: unknown[]) => void printed.push(data) };
  dropLegacyAbortNotice(target);
  target.warn("Deno.serve: request.signal aborts on successful responses (legacy behavior). To detect ...");
  target.warn("Deno.serve: something else", 1);
  target.warn();
  target.warn({ a: 1 });
  assertEquals(printed, [["Deno.serve: something else", 1], [], [{ a: 1 }]]);
});

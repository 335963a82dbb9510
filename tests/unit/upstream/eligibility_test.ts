import { assertEquals } from "@std/assert";
import { ineligibility, isAvailable, type Standing } from "../../../lib/upstream/eligibility.ts";

const GOOD: Standing = { enabled: true, draining: false, healthy: true, ejected: false, full: false };

Deno.test("ineligibility() says why, and full only when nothing else stands against it", () => {
  assertEquals(ineligibility(GOOD), null);
  assertEquals(ineligibility({ ...GOOD, enabled: false, full: true }), "disabled");
  assertEquals(ineligibility({ ...GOOD, draining: true, full: true }), "draining");
  assertEquals(ineligibility({ ...GOOD, healthy: false, full: true }), "unhealthy");
  assertEquals(ineligibility({ ...GOOD, ejected: true, full: true }), "ejected");
  assertEquals(ineligibility({ ...GOOD, full: true }), "full");
});

Deno.test("isAvailable() leaves requests in flight aside", () => {
  assertEquals(isAvailable({ ...GOOD, full: true }), true);
  assertEquals(isAvailable({ ...GOOD, healthy: false }), false);
});

Deno.test("isAvailable() in panic ignores checks and ejection but never the operator", () => {
  assertEquals(isAvailable({ ...GOOD, healthy: false }, true), true);
  assertEquals(isAvailable({ ...GOOD, ejected: true }, true), true);
  assertEquals(isAvailable({ ...GOOD, enabled: false, healthy: false }, true), false);
  assertEquals(isAvailable({ ...GOOD, draining: true, ejected: true }, true), false);
});

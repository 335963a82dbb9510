import { assertEquals, assertMatch } from "@std/assert";
import { formatTraceparent, makeTraceId, parseTraceparent } from "../../../lib/observe/tracer.ts";
import { seededRandom } from "../../../lib/core/random.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

Deno.test("parseTraceparent() reads what W3C Trace Context allows, and nothing else", () => {
  const ids = { traceId: TRACE, spanId: SPAN };
  assertEquals(parseTraceparent(`00-${TRACE}-${SPAN}-01`), { ...ids, sampled: true });
  assertEquals(parseTraceparent(`00-${TRACE}-${SPAN}-00`), { ...ids, sampled: false });
  assertEquals(parseTraceparent(`00-${TRACE}-${SPAN}-ff`), { ...ids, sampled: true });
  // A later version, which may have more.
  assertEquals(parseTraceparent(`01-${TRACE}-${SPAN}-03-more`), { ...ids, sampled: true });
  const bad = [
    null,
    "",
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
  ];
  for (const value of bad) assertEquals(parseTraceparent(value), null, String(value));
});

Deno.test("formatTraceparent() writes what parseTraceparent() reads", () => {
  for (const sampled of [true, false]) {
    const parent = { traceId: TRACE, spanId: SPAN, sampled };
    assertEquals(parseTraceparent(formatTraceparent(parent)), parent);
  }
});

Deno.test("makeTraceId() makes ids of the asked length, none of them all zeros", () => {
  const random = seededRandom(1);
  assertMatch(makeTraceId(random, 32), /^[0-9a-f]{32}$/);
  assertMatch(makeTraceId(random, 16), /^[0-9a-f]{16}$/);
  const numbers = [0, 0, 0, 0.5];
  assertEquals(makeTraceId(() => numbers.shift()!, 16), "0000000080000000");
});

import { assertEquals } from "@std/assert";
import { type SendPhase, UpstreamError } from "../../../lib/core/errors.ts";
import {
  decideRetry,
  isIdempotent,
  MAX_SENT_ATTEMPTS,
  MAX_UNSENT_ATTEMPTS,
} from "../../../lib/proxy/decide_retry.ts";

function failed(phase: SendPhase): UpstreamError {
  return new UpstreamError("failed", { code: "connection_terminated", phase });
}

const TABLE: readonly (readonly [phase: SendPhase, method: string, repeatable: boolean, again: boolean])[] = [
  ["unsent", "GET", true, true],
  ["unsent", "POST", true, true],
  ["unsent", "PATCH", true, true],
  ["unsent", "M-SEARCH", true, true],
  ["unsent", "GET", false, false],
  ["unsent", "POST", false, false],
  ["sent", "GET", true, true],
  ["sent", "HEAD", true, true],
  ["sent", "OPTIONS", true, true],
  ["sent", "PUT", true, true],
  ["sent", "DELETE", true, true],
  ["sent", "QUERY", true, true],
  ["sent", "POST", true, false],
  ["sent", "PATCH", true, false],
  ["sent", "get", true, false],
  ["sent", "PROPFIND", true, false],
  ["sent", "PUT", false, false],
  ["answered", "GET", true, false],
  ["answered", "PUT", false, false],
];

for (const [phase, method, bodyRepeatable, again] of TABLE) {
  const body = bodyRepeatable ? "can" : "cannot";
  Deno.test(`decideRetry() says ${again ? "yes" : "no"} to ${method}, ${phase}, whose content ${body} be sent again`, () => {
    assertEquals(decideRetry(failed(phase), { method, bodyRepeatable, attempts: 1 }), again);
  });
}

Deno.test("decideRetry() says no after so many attempts", () => {
  for (const [phase, limit] of [["unsent", MAX_UNSENT_ATTEMPTS], ["sent", MAX_SENT_ATTEMPTS]] as const) {
    const decide = (attempts: number) =>
      decideRetry(failed(phase), { method: "GET", bodyRepeatable: true, attempts });
    assertEquals([decide(1), decide(limit - 1), decide(limit), decide(limit + 1)], [
      true,
      true,
      false,
      false,
    ]);
  }
});

Deno.test("isIdempotent() knows the methods of RFC 9110, and QUERY of RFC 10008, that may be sent twice, and no others", () => {
  const idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"];
  const methods = [...idempotent, "POST", "PATCH", "CONNECT", "", "Get", "query"];
  assertEquals(methods.filter(isIdempotent), idempotent);
});

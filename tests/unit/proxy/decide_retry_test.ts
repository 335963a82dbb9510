import { assertEquals } from "@std/assert";
import { resolveRetries, type RetryOptions } from "../../../lib/config/retry_options.ts";
import { UpstreamError, type UpstreamErrorCode } from "../../../lib/core/errors.ts";
import {
  decideRetry,
  type FailedAttempt,
  failedAttempt,
  mayRepeatOnNewConnection,
} from "../../../lib/proxy/decide_retry.ts";

function failed(
  phase: UpstreamError["phase"],
  code: UpstreamErrorCode = "connection_terminated",
): UpstreamError {
  return new UpstreamError("failed", { code, phase });
}

type RetryQuestion = Parameters<typeof decideRetry>[1];

const QUESTION: RetryQuestion = {
  method: "GET",
  hasIdempotencyKey: false,
  bodyRepeatable: true,
  attempts: 1,
  timedOut: false,
};

function decide(
  failure: FailedAttempt | null,
  question: Partial<RetryQuestion> = {},
  options: RetryOptions = {},
): boolean {
  return failure !== null && decideRetry(failure, { ...QUESTION, ...question }, resolveRetries(options)!);
}

/** A response with this status. */
function status(status: number): FailedAttempt {
  return { reason: "status", status, message: "", unsent: false, late: false };
}

const TABLE:
  readonly (readonly [phase: UpstreamError["phase"], method: string, repeatable: boolean, again: boolean])[] =
    [
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
    assertEquals(decide(failedAttempt(failed(phase)), { method, bodyRepeatable }), again);
    assertEquals(mayRepeatOnNewConnection(failed(phase), method, bodyRepeatable), again);
  });
}

Deno.test("decideRetry() says no after so many attempts", () => {
  const cases: [UpstreamError["phase"], RetryOptions, number][] = [
    ["unsent", {}, 8],
    ["sent", {}, 3],
    ["unsent", { attempts: 1 }, 2],
    ["sent", { attempts: 4 }, 5],
  ];
  for (const [phase, options, limit] of cases) {
    const answers = [1, limit - 1, limit, limit + 1]
      .map((attempts) => decide(failedAttempt(failed(phase)), { attempts }, options));
    assertEquals(answers, [true, true, false, false]);
  }
});

Deno.test("decideRetry() says no to whatever fails once an attempt has run out of time", () => {
  for (const code of ["http_response_timeout", "connection_terminated"] as const) {
    assertEquals(decide(failedAttempt(failed("sent", code)), { timedOut: false }), true);
    assertEquals(decide(failedAttempt(failed("sent", code)), { timedOut: true, attempts: 2 }), false);
  }
});

Deno.test("failedAttempt() reads codes and phases", () => {
  const read = (phase: UpstreamError["phase"], code: UpstreamErrorCode) => {
    const attempt = failedAttempt(failed(phase, code));
    return attempt === null ? null : [attempt.reason, attempt.late];
  };
  assertEquals(read("unsent", "connection_refused"), ["connect", false]);
  assertEquals(read("unsent", "connection_timeout"), ["connect", true]);
  assertEquals(read("unsent", "tls_handshake_timeout"), ["connect", true]);
  assertEquals(read("unsent", "tls_certificate_error"), ["connect", false]);
  assertEquals(read("sent", "connection_terminated"), ["reset", false]);
  assertEquals(read("sent", "http_protocol_error"), ["reset", false]);
  assertEquals(read("sent", "http_response_timeout"), ["timeout", true]);
  assertEquals(read("answered", "http_response_incomplete"), null);
  assertEquals(read("unsent", "http_request_error"), null);
});

Deno.test("decideRetry() goes by what the policy calls worth a retry, and for which requests", () => {
  const reset = failedAttempt(failed("sent"));
  assertEquals(decide(reset, {}, { on: ["connect", "timeout"] }), false);
  assertEquals(decide(failedAttempt(failed("unsent")), { method: "POST" }, { on: ["reset"] }), false);
  assertEquals(decide(status(503)), false);
  assertEquals(decide(status(503), {}, { on: [503] }), true);
  assertEquals(decide(status(500), {}, { on: [503] }), false);
  assertEquals(decide(status(503), { method: "POST" }, { on: [503] }), false);
  assertEquals(decide(reset, { method: "POST" }, { methods: ["POST"] }), true);
  assertEquals(decide(reset, {}, { methods: ["POST"] }), false);
  const keyed = { method: "POST", hasIdempotencyKey: true };
  assertEquals(decide(reset, keyed), false);
  assertEquals(decide(reset, keyed, { idempotencyKey: true }), true);
});

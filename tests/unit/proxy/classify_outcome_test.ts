import { assertEquals } from "@std/assert";
import { FilterError, UpstreamError, type UpstreamErrorCode } from "../../../lib/core/errors.ts";
import { classifyError, classifyStatus, stageOf } from "../../../lib/proxy/attempt_upstreams.ts";
import type { Exchange } from "../../../lib/proxy/exchange.ts";
import { TotalTimeoutError } from "../../../lib/proxy/run_filter.ts";
import type { Peer } from "../../../lib/upstream/peer.ts";

const TOTAL_MS = 1000;

/** An exchange that began at 0 and whose attempt began at `sentAt`. */
function exchange(
  init: { now?: number; sentAt?: number; cancelled?: boolean; failed?: boolean } = {},
): Exchange {
  const { now = 10, sentAt = 0, cancelled = false, failed = false } = init;
  return {
    cancellation: { cancelled },
    body: { failure: failed ? new Error("broke off") : null },
    timeouts: { totalMs: TOTAL_MS },
    startedAt: 0,
    upstreamStartAt: sentAt,
    upstreamHeadAt: 0,
    runtime: { clock: { now: () => now } },
  } as unknown as Exchange;
}

function failure(
  code: UpstreamErrorCode,
  phase: UpstreamError["phase"] = "sent",
  reused = false,
): UpstreamError {
  return new UpstreamError("failed", { code, phase, reused });
}

Deno.test("classifyStatus() holds the errors of a gateway against a server, and no others", () => {
  for (const status of [200, 204, 302, 399]) assertEquals(classifyStatus(status), "success");
  for (const status of [502, 503, 504]) assertEquals(classifyStatus(status), "failure");
  for (const status of [400, 404, 429, 500, 501, 505]) assertEquals(classifyStatus(status), "ignored");
});

Deno.test("classifyError() holds against a server what it has done", () => {
  for (
    const code of ["connection_refused", "dns_error", "tls_certificate_error", "http_protocol_error"] as const
  ) assertEquals(classifyError(exchange(), failure(code)), "failure", code);
  assertEquals(classifyError(exchange(), failure("connection_timeout")), "failure");
  assertEquals(classifyError(exchange(), failure("connection_terminated")), "failure");
});

Deno.test("classifyError() holds nothing against a server that the client or the proxy has caused", () => {
  const broken = failure("connection_terminated");
  assertEquals(classifyError(exchange({ cancelled: true }), broken), "ignored");
  assertEquals(classifyError(exchange({ failed: true }), broken), "ignored");
  assertEquals(classifyError(exchange(), failure("http_request_error")), "ignored");
  assertEquals(classifyError(exchange(), failure("out_of_resources")), "ignored");
  assertEquals(classifyError(exchange(), new FilterError("upstreamRequestFilter", null)), "ignored");
  assertEquals(classifyError(exchange(), new TotalTimeoutError(exchange())), "ignored");
});

Deno.test("classifyError() ignores that a kept connection was closed", () => {
  assertEquals(classifyError(exchange(), failure("connection_terminated", "sent", true)), "ignored");
});

Deno.test("classifyError() blames a server for a timeout that it had most of the time for", () => {
  const late = failure("http_response_timeout");
  assertEquals(classifyError(exchange({ now: TOTAL_MS, sentAt: TOTAL_MS / 2 }), late), "failure");
  assertEquals(classifyError(exchange({ now: TOTAL_MS, sentAt: TOTAL_MS / 2 + 1 }), late), "ignored");
  assertEquals(classifyError(exchange({ now: TOTAL_MS - 1, sentAt: TOTAL_MS / 2 + 1 }), late), "failure");
});

Deno.test("stageOf() tells how far an attempt got, in doubt further", () => {
  const plain = { tls: null } as Peer;
  const secure = { tls: {} } as Peer;
  for (
    const code of ["connection_refused", "destination_ip_unroutable", "dns_error", "dns_timeout"] as const
  ) {
    assertEquals(stageOf(failure(code, "unsent"), secure), "connect", code);
  }
  assertEquals(stageOf(failure("connection_timeout", "unsent"), plain), "connect");
  assertEquals(stageOf(failure("connection_timeout", "unsent"), secure), "tls");
  assertEquals(stageOf(failure("tls_certificate_error", "unsent"), secure), "tls");
  assertEquals(stageOf(failure("tls_handshake_timeout", "unsent"), secure), "tls");
  assertEquals(stageOf(failure("tls_protocol_error", "unsent"), secure), "tls");
  assertEquals(stageOf(failure("connection_terminated", "unsent"), plain), "request");
  assertEquals(stageOf(failure("connection_refused", "sent"), plain), "request");
  assertEquals(stageOf(new Error("of a filter"), plain), "request");
});

import { assert, assertEquals } from "@std/assert";
import {
  ClientGoneError,
  FilterError,
  NoServerError,
  ProxyError,
  RequestError,
  UpstreamError,
  type UpstreamErrorCode,
} from "../../../lib/core/errors.ts";

Deno.test("ProxyError and its kinds know their status, code and source", () => {
  const cases: [ProxyError, string, number, string, string][] = [
    [new RequestError("bad"), "RequestError", 400, "http_request_error", "client"],
    [new RequestError("large", 413), "RequestError", 413, "http_request_error", "client"],
    [new NoServerError("none", 1), "NoServerError", 503, "destination_unavailable", "upstream"],
    [new ClientGoneError(), "ClientGoneError", 499, "client_gone", "client"],
    [new FilterError("requestFilter", "x"), "FilterError", 500, "proxy_internal_error", "proxy"],
    [
      new FilterError("requestFilter", new Error("Too many open files (os error 24)")),
      "FilterError",
      503,
      "out_of_resources",
      "proxy",
    ],
    [
      new UpstreamError("no socket", { code: "out_of_resources", phase: "unsent" }),
      "UpstreamError",
      503,
      "out_of_resources",
      "proxy",
    ],
  ];
  for (const [error, name, status, code, source] of cases) {
    assert(error instanceof ProxyError && error instanceof Error);
    assertEquals([error.name, error.status, error.code, error.source], [name, status, code, source]);
  }
});

Deno.test("UpstreamError takes its status from its code", () => {
  const statuses: [UpstreamErrorCode, number][] = [
    ["dns_error", 502],
    ["dns_timeout", 504],
    ["connection_refused", 502],
    ["connection_terminated", 502],
    ["connection_timeout", 504],
    ["destination_ip_unroutable", 502],
    ["tls_certificate_error", 502],
    ["tls_protocol_error", 502],
    ["http_protocol_error", 502],
    ["http_response_incomplete", 502],
    ["http_response_timeout", 504],
    ["http_request_error", 502],
  ];
  for (const [code, status] of statuses) {
    const error = new UpstreamError("broken", { code, phase: "sent" });
    assertEquals([error.code, error.status, error.phase, error.reused], [code, status, "sent", false]);
  }
});

Deno.test("NoServerError says when to come back, in whole seconds and never at once", () => {
  for (const [seconds, value] of [[0, "1"], [0.2, "1"], [1, "1"], [1.1, "2"], [30, "30"]] as const) {
    assertEquals(new NoServerError("none", seconds).headers["retry-after"], value);
  }
});

Deno.test("FilterError keeps what was thrown for the log", () => {
  const cause = new TypeError("secret");
  const error = new FilterError("responseFilter", cause);
  assertEquals([error.phase, error.cause, error.message], [
    "responseFilter",
    cause,
    "responseFilter threw: secret",
  ]);
});

Deno.test("ProxyError has no cause unless it was given one", () => {
  assert(!("cause" in new ClientGoneError()));
});

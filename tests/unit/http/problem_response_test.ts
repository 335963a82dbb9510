import { assertEquals } from "@std/assert";
import {
  FilterError,
  LoopError,
  NoServerError,
  type ProxyError,
  RequestError,
  UpstreamError,
} from "../../../lib/core/errors.ts";
import { problemBody, problemFields } from "../../../lib/http/make_response.ts";

const SECRET = "10.0.0.1:8080 said no";

const TABLE: readonly (readonly [error: ProxyError, status: number, code: string, title: string])[] = [
  [new RequestError("bad"), 400, "http_request_error", "Bad Request"],
  [new RequestError("slow", 408), 408, "http_request_error", "Request Timeout"],
  [new NoServerError(SECRET, 2), 503, "destination_unavailable", "Service Unavailable"],
  [new FilterError("requestFilter", new Error(SECRET)), 500, "proxy_internal_error", "Internal Server Error"],
  [
    new UpstreamError(SECRET, { code: "connection_refused", phase: "unsent" }),
    502,
    "connection_refused",
    "Bad Gateway",
  ],
  [
    new UpstreamError(SECRET, { code: "http_response_timeout", phase: "sent" }),
    504,
    "http_response_timeout",
    "Gateway Timeout",
  ],
  [new LoopError(), 508, "proxy_loop_detected", "Loop Detected"],
];

for (const [error, status, code, title] of TABLE) {
  Deno.test(`problemFields() and problemBody() make ${status} ${title} of ${error.name} with ${code}`, () => {
    assertEquals(error.status, status);
    const headers = problemFields(error);
    assertEquals(headers.get("content-type"), "application/problem+json");
    assertEquals(headers.get("cache-control"), "no-store");
    assertEquals(headers.get("proxy-status"), `lbproxy; error=${code}`);
    assertEquals(JSON.stringify([...headers]).includes(SECRET), false);
    const body = JSON.parse(new TextDecoder().decode(problemBody(error.status)));
    assertEquals(body, { type: "about:blank", title, status });
  });
}

Deno.test("problemFields() tells what the proxy lacks in the details of Proxy-Status", () => {
  const error = new UpstreamError(SECRET, { code: "out_of_resources", phase: "unsent" });
  const headers = problemFields(error);
  assertEquals([error.status, headers.get("proxy-status"), headers.get("retry-after")], [
    503,
    'lbproxy; error=proxy_internal_error; details="out_of_resources"',
    "1",
  ]);
});

Deno.test("problemFields() has the fields that the failure brings", () => {
  assertEquals(problemFields(new NoServerError("none", 7.2)).get("retry-after"), "8");
  assertEquals(problemFields(new RequestError("no", 405, { allow: "GET" })).get("allow"), "GET");
});

Deno.test("problemBody() keeps other members, and has a title for every status", () => {
  const text = new TextDecoder().decode(problemBody(499, { type: "urn:x", detail: '"quoted"', more: [1] }));
  assertEquals(JSON.parse(text), {
    type: "urn:x",
    title: "Error",
    status: 499,
    detail: '"quoted"',
    more: [1],
  });
});

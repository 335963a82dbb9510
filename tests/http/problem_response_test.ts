import { assertEquals } from "@std/assert";
import {
  ClientGoneError,
  FilterError,
  LoopError,
  NoServerError,
  type ProxyError,
  RequestError,
  UpstreamError,
} from "../../lib/core/errors.ts";
import { problemBody, problemResponse } from "../../lib/http/problem_response.ts";

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
  // 499 is for the log alone.
  [new ClientGoneError(), 400, "http_request_error", "Bad Request"],
];

for (const [error, status, code, title] of TABLE) {
  Deno.test(`problemResponse() makes ${status} ${title} of ${error.name} with ${code}`, async () => {
    const response = problemResponse(error).response;
    assertEquals(response.status, status);
    assertEquals(response.headers.get("content-type"), "application/problem+json");
    assertEquals(response.headers.get("cache-control"), "no-store");
    assertEquals(response.headers.get("proxy-status"), `lbproxy; error=${code}`);
    const text = await response.text();
    assertEquals(text.includes(SECRET), false);
    const detail = error.source === "client" ? { detail: error.message } : {};
    assertEquals(JSON.parse(text), { type: "about:blank", title, status, ...detail });
  });
}

Deno.test("problemResponse() tells what the proxy lacks in the details of Proxy-Status", () => {
  const error = new UpstreamError(SECRET, { code: "out_of_resources", phase: "unsent" });
  const { status, headers } = problemResponse(error).response;
  assertEquals([status, headers.get("proxy-status"), headers.get("retry-after")], [
    503,
    'lbproxy; error=proxy_internal_error; details="out_of_resources"',
    "1",
  ]);
});

Deno.test("problemResponse() has the fields that the failure brings", () => {
  assertEquals(problemResponse(new NoServerError("none", 7.2)).response.headers.get("retry-after"), "8");
  const { headers } = problemResponse(new RequestError("no", 405, { allow: "GET" })).response;
  assertEquals(headers.get("allow"), "GET");
});

Deno.test("problemBody() keeps other members, and has a title for every status", () => {
  const text = new TextDecoder().decode(problemBody(418, { type: "urn:x", detail: '"quoted"', more: [1] }));
  assertEquals(JSON.parse(text), {
    type: "urn:x",
    title: "Error",
    status: 418,
    detail: '"quoted"',
    more: [1],
  });
});

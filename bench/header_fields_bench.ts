/** Cost of handling the fields of a message, compared with the runtime's `Headers`. */

import { HeaderFields } from "../lib/http/header_fields.ts";
import { removeHopByHop } from "../lib/http/proxy_fields.ts";
import { makeResponse } from "../lib/http/make_response.ts";

const PAIRS: [string, string][] = [
  ["server", "nginx/1.22.1"],
  ["date", "Wed, 25 Nov 2026 04:14:27 GMT"],
  ["content-type", "application/json; charset=utf-8"],
  ["content-length", "5120"],
  ["connection", "keep-alive"],
  ["cache-control", "private, max-age=0, must-revalidate"],
  ["etag", 'W/"5120-bEXQFZD3wL0dYRU3sZ7u3Q"'],
  ["vary", "Accept-Encoding"],
  ["x-request-id", "01JDJ2V7QZ3M9T5K8W4R6Y1X0C"],
  ["strict-transport-security", "max-age=31536000; includeSubDomains"],
];
const LIST = PAIRS.flat();

Deno.bench("removeHopByHop", { group: "hop-by-hop fields off" }, () => {
  removeHopByHop(HeaderFields.adopt(LIST.slice()));
});
Deno.bench("the same with Headers", { group: "hop-by-hop fields off", baseline: true }, () => {
  const headers = new Headers(PAIRS);
  for (const name of ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]) {
    headers.delete(name);
  }
});

Deno.bench("HeaderFields", { group: "get two, set one" }, () => {
  const fields = HeaderFields.adopt(LIST.slice());
  fields.get("content-type");
  fields.get("vary");
  fields.set("x-served-by", "lbproxy");
});
Deno.bench("Headers", { group: "get two, set one", baseline: true }, () => {
  const headers = new Headers(PAIRS);
  headers.get("content-type");
  headers.get("vary");
  headers.set("x-served-by", "lbproxy");
});

const BODY = new Uint8Array(12);
Deno.bench("makeResponse", { group: "fields of a Response" }, () => {
  makeResponse(200, LIST, BODY);
});
Deno.bench("pairs", { group: "fields of a Response", baseline: true }, () => {
  new Response(BODY, { headers: PAIRS });
});

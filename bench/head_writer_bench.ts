/** What it costs to write the head of a request to a server. */

import { HeaderFields } from "../lib/http/header_fields.ts";
import { HeadWriter } from "../lib/transport/http1/head_writer.ts";

const FIELDS = new HeaderFields([
  ["host", "shop.example"],
  ["user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0"],
  ["accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
  ["accept-language", "en-GB,en;q=0.5"],
  ["accept-encoding", "gzip, deflate, br"],
  ["cookie", "session=01JDJ2V7QZ3M9T5K8W4R6Y1X0C; theme=dark"],
  ["x-forwarded-for", "192.0.2.17"],
  ["x-forwarded-proto", "https"],
  ["x-forwarded-host", "shop.example"],
  ["via", "1.1 lbproxy"],
]);
const TARGET = "/products/list?category=shoes&page=3&sort=price";

const writer = new HeadWriter();
const request = { method: "GET", target: TARGET, headers: FIELDS, body: null };
Deno.bench("HeadWriter, 10 fields, every byte checked", { group: "head of a request" }, () => {
  writer.write(request);
});

const encoder = new TextEncoder();
Deno.bench("join and encode, unchecked", { group: "head of a request", baseline: true }, () => {
  let text = `GET ${TARGET} HTTP/1.1\r\n`;
  for (const [name, value] of FIELDS) text += `${name}: ${value}\r\n`;
  encoder.encode(text + "\r\n");
});

/** Cost of reading and writing heads and chunks of HTTP/1.1, as sent by a load generator, a browser and a server. */

import { HeaderFields } from "../lib/http/header_fields.ts";
import { removeForwarded, removeHopByHop, screenFields } from "../lib/http/proxy_fields.ts";
import { requestBodyReader } from "../lib/http1/body_reader.ts";
import { HeadWriter } from "../lib/http1/head_writer.ts";
import { RequestHeadParser } from "../lib/http1/request_head.ts";
import { ResponseHeadParser } from "../lib/http1/head_parser.ts";

function head(...lines: readonly string[]): Uint8Array {
  return new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
}

const REQUESTS: Readonly<Record<string, Uint8Array>> = {
  "small request": head("GET /index.html HTTP/1.1", "Host: 127.0.0.1:8080"),
  "browser's request": head(
    "GET /products/list?category=shoes&page=3&sort=price HTTP/1.1",
    "Host: shop.example",
    "Connection: keep-alive",
    'sec-ch-ua: "Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"',
    "sec-ch-ua-mobile: ?0",
    'sec-ch-ua-platform: "Linux"',
    "Upgrade-Insecure-Requests: 1",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: navigate",
    "Sec-Fetch-User: ?1",
    "Sec-Fetch-Dest: document",
    "Referer: https://shop.example/products",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-GB,en;q=0.9",
    "Cookie: session=01JDJ2V7QZ3M9T5K8W4R6Y1X0C; theme=dark",
    "X-Custom-One: 1",
  ),
};
const RESPONSES: Readonly<Record<string, Uint8Array>> = {
  "small response": head(
    "HTTP/1.1 200 OK",
    "Server: nginx/1.22.1",
    "Date: Wed, 25 Nov 2026 04:14:27 GMT",
    "Content-Type: text/plain",
    "Content-Length: 12",
    "Connection: keep-alive",
  ),
  "large response": head(
    "HTTP/1.1 200 OK",
    "Server: nginx/1.22.1",
    "Date: Wed, 25 Nov 2026 04:14:27 GMT",
    "Content-Type: application/json; charset=utf-8",
    "Content-Length: 5120",
    "Connection: keep-alive",
    "Cache-Control: private, max-age=0, must-revalidate",
    'ETag: W/"5120-bEXQFZD3wL0dYRU3sZ7u3Q"',
    "Vary: Accept-Encoding",
    "X-Request-Id: 01JDJ2V7QZ3M9T5K8W4R6Y1X0C",
    "X-Custom-One: 1",
    "Strict-Transport-Security: max-age=31536000; includeSubDomains",
  ),
};

const writer = new HeadWriter(new Uint8Array(16 * 1024));

for (const [name, bytes] of Object.entries(REQUESTS)) {
  const parser = new RequestHeadParser();
  const fields = new HeaderFields();
  Deno.bench(`read, ${name}`, { group: name, baseline: true }, () => {
    parser.begin(0);
    parser.parse(bytes, bytes.length);
  });

  Deno.bench(`read, screened and written, ${name}`, { group: name }, () => {
    parser.begin(0);
    parser.parse(bytes, bytes.length);
    fields.begin(parser.lines);
    screenFields(fields, "drop");
    removeHopByHop(fields);
    removeForwarded(fields);
    fields.list.push("x-forwarded-for", "192.0.2.17", "via", "1.1 lbproxy");
    writer.begin(writer.bytes);
    writer.requestLineOf(parser.method, bytes, parser.targetStart, parser.targetEnd);
    writer.fields(fields);
    writer.end();
  });

  const decoder = new TextDecoder();
  Deno.bench(`decode, split and lower-case, ${name}`, { group: name }, () => {
    const lines = decoder.decode(bytes).split("\r\n");
    const pairs: string[] = [];
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(":");
      if (colon > 0) pairs.push(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
  });
}

for (const [name, bytes] of Object.entries(RESPONSES)) {
  const parser = new ResponseHeadParser();
  const fields = new HeaderFields();
  Deno.bench(`read, ${name}`, { group: name, baseline: true }, () => {
    parser.begin(0);
    parser.parse(bytes, bytes.length);
  });

  Deno.bench(`read, screened and written, ${name}`, { group: name }, () => {
    parser.begin(0);
    parser.parse(bytes, bytes.length);
    fields.begin(parser.lines);
    removeHopByHop(fields);
    writer.begin(writer.bytes);
    writer.statusLine(parser.status, parser.reason);
    writer.fields(fields);
    writer.contentLength(parser.contentLength);
    writer.end();
  });
}

const LISTED = new HeaderFields([
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

Deno.bench("written, 10 fields as text, every byte checked", { group: "text", baseline: true }, () => {
  writer.begin(writer.bytes);
  writer.requestLine("GET", TARGET);
  writer.fields(LISTED);
  writer.end();
});

const encoder = new TextEncoder();
Deno.bench("join and encode, unchecked", { group: "text" }, () => {
  let text = `GET ${TARGET} HTTP/1.1\r\n`;
  for (const [name, value] of LISTED) text += `${name}: ${value}\r\n`;
  encoder.encode(text + "\r\n");
});

const CHUNKED = head("POST / HTTP/1.1", "Host: h", "Transfer-Encoding: chunked");
const CHUNKS = new TextEncoder().encode(`${`400\r\n${"x".repeat(1024)}\r\n`.repeat(10)}0\r\n\r\n`);
const chunkedParser = new RequestHeadParser();
chunkedParser.begin(0);
chunkedParser.parse(CHUNKED, CHUNKED.length);
const received = CHUNKS.slice();

Deno.bench("read, 10 KiB in 10 chunks", { group: "chunks", baseline: true }, () => {
  // Restores the buffer, because reading moves the content in it.
  received.set(CHUNKS);
  requestBodyReader(chunkedParser).read(received, 0, received.length);
});
Deno.bench("copy of as many bytes", { group: "chunks" }, () => {
  received.set(CHUNKS);
});

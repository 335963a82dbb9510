/** What it costs to read the head of a server's answer. */

import { HeadParser } from "../lib/transport/http1/head_parser.ts";

const HEAD = [
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
  "Strict-Transport-Security: max-age=31536000; includeSubDomains",
  "",
  "",
].join("\r\n");
const SHORT = HEAD.split("\r\n").slice(0, 5).join("\r\n") + "\r\n\r\n";

for (const [name, text] of [["4 fields", SHORT], ["10 fields", HEAD]] as const) {
  const bytes = new TextEncoder().encode(text);
  const parser = new HeadParser();
  Deno.bench(`HeadParser, ${name}`, { group: name }, () => {
    parser.begin(0);
    parser.parse(bytes, bytes.length);
  });

  const decoder = new TextDecoder();
  Deno.bench(`decode, split and lower-case, ${name}`, { group: name, baseline: true }, () => {
    const lines = decoder.decode(bytes).split("\r\n");
    const fields: string[] = [];
    for (const line of lines.slice(1)) {
      const colon = line.indexOf(":");
      if (colon > 0) fields.push(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
  });
}

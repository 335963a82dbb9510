/** What servers send that they must not, beside the responses that are malformed in themselves. */

import { HOSTILE_RESPONSES, type HostileResponse } from "../unit/transport/hostile_responses.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;
const LONG = 1_000_000;

/** Bytes that cannot become a response, or not a whole one. */
function broken(cases: Readonly<Record<string, string>>): HostileResponse[] {
  return Object.entries(cases).map(([name, bytes]) => ({ name, bytes }));
}

/** Responses that end before they have, and bytes that are none. The connection is closed behind each. */
const BREAKING_OFF = broken({
  "nothing at all": "",
  "half a status line": "HTTP/1.1 20",
  "a status line alone": OK,
  "half a field": `${OK}Content-Len`,
  "fields without an end": `${OK}Content-Length: 2\r\n`,
  "no content where some is announced": `${OK}Content-Length: 2\r\n\r\n`,
  "half of the content": `${OK}Content-Length: 4\r\n\r\nok`,
  "no chunk": CHUNKED,
  "half a chunk size": `${CHUNKED}2`,
  "half a chunk": `${CHUNKED}4\r\nok`,
  "a chunk without its line end": `${CHUNKED}2\r\nok`,
  "no last chunk": `${CHUNKED}2\r\nok\r\n`,
  "half of the last chunk": `${CHUNKED}2\r\nok\r\n0\r\n`,
  "trailers without an end": `${CHUNKED}2\r\nok\r\n0\r\nX: y\r\n`,
  "an interim response alone": "HTTP/1.1 103 Early Hints\r\n\r\n",
  "half a response behind an interim one": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200",
  "a switch of protocols that nobody asked for": "HTTP/1.1 101 Switching Protocols\r\n\r\nhello",
  "an SSH banner": "SSH-2.0-OpenSSH_9.6\r\n",
  "an SMTP greeting": "220 mail.example ESMTP\r\n",
  "a TLS alert": "\x15\x03\x01\x00\x02\x02\x28",
  "the preface of HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  "a page without a head": "<html><body>ok</body></html>",
});

/** Bytes without end, as far as anybody reads them. */
const ENDLESS = broken({
  "interim responses without end": "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(50_000),
  "a reason without end": `HTTP/1.1 200 ${"O".repeat(LONG)}`,
  "a field name without end": `${OK}${"X".repeat(LONG)}`,
  "fields without number": OK + "X: y\r\n".repeat(LONG / 6),
  "a chunk size without end": `${CHUNKED}${"0".repeat(LONG)}`,
  "a chunk extension without end": `${CHUNKED}2;${"x".repeat(LONG)}`,
  "trailers without end": `${CHUNKED}2\r\nok\r\n0\r\n${"X: y\r\n".repeat(LONG / 6)}`,
});

/** Every response of a server that must not be passed on as whole, and such as look odd and are in order. */
export const HOSTILE_SERVERS: readonly HostileResponse[] = [
  ...HOSTILE_RESPONSES,
  ...BREAKING_OFF,
  ...ENDLESS,
];

/** Sends HTTP/1.1 requests of tests over HTTP/2. */

import { WholeBody } from "../../lib/http/message.ts";
import { Http2TestClient } from "./http2_test_client.ts";
import { latin1Bytes, type RawMessage } from "./raw_connection.ts";

/** Fields of an HTTP/1.1 connection. */
const OF_CONNECTION =
  /^(?:connection|keep-alive|proxy-connection|transfer-encoding|upgrade|host|content-length)$/;

/** Sends one request on a separate connection, over TLS, and returns the whole response. */
export async function askByHttp2(
  port: number,
  request: string,
  lines: readonly string[],
  body: string | Uint8Array,
): Promise<RawMessage & { status: number }> {
  await using client = await Http2TestClient.open(port);
  const [method = "", target = ""] = request.split(" ");
  // One text of a test may contain several lines.
  const all = lines.flatMap((line) => line.split("\r\n")).map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const bytes = typeof body === "string" ? latin1Bytes(body) : Uint8Array.from(body);
  const declared = all.find(([name]) => name === "content-length")?.[1];
  const chunked = all.some(([name]) => name === "transfer-encoding");
  // Only a part of the declared content is sent.
  const isPart = declared !== undefined && Number(declared) > bytes.length;
  const exchange = client.ask(target, {
    method,
    authority: all.find(([name]) => name === "host")?.[1] ?? "h",
    fields: all.filter(([name]) => !OF_CONNECTION.test(name)),
    length: declared === undefined ? null : Number(declared),
    body: bytes.length === 0 || isPart ? null : new WholeBody(chunked ? dechunked(bytes) : bytes),
    open: isPart,
  });
  if (isPart) exchange.stream.write(bytes, 0, bytes.length, false);
  const { status, fields, body: content } = await exchange.response();
  const startLine = `HTTP/2 ${status}`;
  const head = [startLine, ...fields.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
  return { status, startLine, fields, head, body: content };
}

/** Content with the chunked coding removed. */
function dechunked(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const text = new TextDecoder("latin1").decode(bytes);
  let content = "";
  for (let at = 0;;) {
    const end = text.indexOf("\r\n", at);
    const size = parseInt(text.slice(at, end), 16);
    if (!(size > 0)) return latin1Bytes(content);
    content += text.slice(end + 2, end + 2 + size);
    at = end + 4 + size;
  }
}

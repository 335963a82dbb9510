/** One HTTP/2 request without TLS, with fields set byte by byte by the test (RFC 9113, RFC 7541). */

import { latin1Bytes } from "./raw_connection.ts";
import { rawClient } from "./raw_client.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;

/**
 * Sends a GET and waits for the end of its response.
 *
 * @param fields names in lower case and values of less than 127 bytes
 * @returns whether the status was 200
 */
export async function askByH2(
  port: number,
  fields: readonly (readonly [string, string])[],
): Promise<boolean> {
  using connection = await rawClient(port);
  const block = [[":method", "GET"], [":scheme", "http"], [":path", "/"], [":authority", "h"], ...fields]
    // A literal without indexing and with a new name, uncompressed (RFC 7541 section 6.2.2).
    .map(([name, value]) => `\0${sized(name!)}${sized(value!)}`).join("");
  await connection.write(
    PREFACE + frame(SETTINGS, 0, 0, "") + frame(HEADERS, END_STREAM | END_HEADERS, 1, block),
  );
  let ok = false;
  for (;;) {
    const head = await connection.readExactly(9);
    const view = new DataView(head.buffer);
    const payload = await connection.readExactly(view.getUint32(0) >>> 8);
    const type = head[3]!;
    const flags = head[4]!;
    if (type === SETTINGS && (flags & ACK) === 0) await connection.write(frame(SETTINGS, ACK, 0, ""));
    // The status comes first, and 200 is entry 8 of the static table.
    if (type === HEADERS) ok = payload[0] === 0x88;
    if (view.getUint32(5) !== 1) continue;
    if (type === RST_STREAM) return false;
    if ((type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0) return ok;
  }
}

function sized(text: string): string {
  return String.fromCharCode(text.length) + text;
}

function frame(type: number, flags: number, stream: number, payload: string): string {
  const head = new DataView(new ArrayBuffer(9));
  head.setUint32(0, latin1Bytes(payload).length << 8 | type);
  head.setUint8(4, flags);
  head.setUint32(5, stream);
  return String.fromCharCode(...new Uint8Array(head.buffer)) + payload;
}

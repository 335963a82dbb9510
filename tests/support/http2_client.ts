/** An HTTP/2 client without TLS that sends one request, set byte by byte by the test. */

import { rawClient } from "./raw_client.ts";
import { latin1Bytes, type RawConnection } from "./raw_connection.ts";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const [DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY] = [0, 1, 3, 4, 7];
const END_STREAM = 1;
const END_HEADERS = 4;

/**
 * Sends a GET and returns the response.
 *
 * @param path the field `:path`, one character per byte
 * @returns the content of a response with status 200; `null` for another response, or none
 */
export async function askHttp2(port: number, path: string, host = "h"): Promise<string | null> {
  using connection = await rawClient(port);
  const fields = [[":method", "GET"], [":scheme", "http"], [":authority", host], [":path", path]] as const;
  // Literal fields without indexing (RFC 7541 section 6.2.2).
  const block = fields.map(([name, value]) => `\0${prefixed(name)}${prefixed(value)}`).join("");
  await connection.write(PREFACE);
  await connection.write(frame(SETTINGS, 0, 0, ""));
  await connection.write(frame(HEADERS, END_STREAM | END_HEADERS, 1, block));
  let ok = false;
  let content = "";
  for (;;) {
    const { type, flags, payload } = await readFrame(connection);
    if (type === RST_STREAM || type === GOAWAY) return null;
    // 0x88 is `:status: 200` of the static table (RFC 7541 appendix A).
    if (type === HEADERS) ok = payload[0] === 0x88;
    if (type === DATA) content += new TextDecoder().decode(payload);
    if ((type === HEADERS || type === DATA) && (flags & END_STREAM) !== 0) return ok ? content : null;
  }
}

/** A text of less than 127 bytes in the format of a field. */
function prefixed(text: string): string {
  return String.fromCharCode(text.length) + text;
}

function frame(type: number, flags: number, stream: number, payload: string): Uint8Array<ArrayBuffer> {
  const head = [payload.length >> 16, payload.length >> 8, payload.length, type, flags, 0, 0, 0, stream];
  return new Uint8Array([...head.map((byte) => byte & 255), ...latin1Bytes(payload)]);
}

async function readFrame(
  connection: RawConnection,
): Promise<{ type: number; flags: number; payload: Uint8Array }> {
  const head = await connection.readExactly(9);
  const length = head[0]! << 16 | head[1]! << 8 | head[2]!;
  return { type: head[3]!, flags: head[4]!, payload: await connection.readExactly(length) };
}

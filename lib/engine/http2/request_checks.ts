/** What a head has to say to be a request (RFC 9113 section 8.3.1). */

import { RequestError } from "../../core/errors.ts";
import { TOKEN_BYTES } from "../../http/field_lines.ts";
import { badRequest, isAuthority } from "../../http1/request_head.ts";
import { KIND } from "../../http2/field_kind.ts";
import type { HeadBounds, ReceivedHead } from "../../http2/received_head.ts";

const MAX_METHOD_BYTES = 32;
const MAX_TARGET_BYTES = 16_384;
const HOST = "host";

/**
 * Looks at a head before anybody believes it, as strictly as the parser of HTTP/1.1 does.
 *
 * @param extended whether it may be an extended CONNECT (RFC 8441)
 * @throws {RequestError} 400 for what is malformed, 414 and 431 for what is too long
 */
export function checkRequest(head: ReceivedHead, bounds: HeadBounds, extended: boolean): void {
  if (head.excess === "bytes") {
    throw new RequestError(`The request head is longer than ${bounds.maxHeadBytes} bytes`, 431);
  }
  if (head.excess === "fields") {
    throw new RequestError(`The request has more than ${bounds.maxFields} fields`, 431);
  }
  if (head.malformed !== null) throw badRequest(head.malformed);
  if (head.has(KIND.STATUS)) throw badRequest("a :status");
  checkMethod(head);
  const connects = head.text(KIND.METHOD) === "CONNECT";
  if (head.has(KIND.PROTOCOL) && !(extended && connects)) {
    throw badRequest("a :protocol that nobody asked for");
  }
  if (connects && !head.has(KIND.PROTOCOL)) return checkConnect(head);
  const scheme = head.text(KIND.SCHEME);
  if (scheme !== "https" && scheme !== "http") {
    throw badRequest("no :scheme, or another one than http and https");
  }
  checkPath(head);
  checkHost(head);
  const expected = head.expectsContinue ? head.lines.joined("expect") : null;
  if (expected !== null && expected.toLowerCase() !== "100-continue") {
    throw badRequest("an Expect field other than 100-continue", 417);
  }
}

function checkMethod(head: ReceivedHead): void {
  const from = head.startOf(KIND.METHOD);
  const to = head.endOf(KIND.METHOD);
  if (from === to) throw badRequest("no :method");
  if (to - from > MAX_METHOD_BYTES) throw badRequest("a method that is too long", 501);
  const { bytes } = head.lines;
  for (let i = from; i < to; i++) {
    if (TOKEN_BYTES[bytes[i]!] !== 1) throw badRequest("a malformed method");
  }
}

// It goes no further, and is only told of as what it was.
function checkConnect(head: ReceivedHead): void {
  if (head.has(KIND.SCHEME) || head.has(KIND.PATH)) throw badRequest("a CONNECT with a :scheme or a :path");
  checkHost(head);
}

function checkPath(head: ReceivedHead): void {
  const { lines: { bytes }, targetStart, targetEnd } = head;
  if (targetStart === targetEnd) throw badRequest("no :path");
  if (targetEnd - targetStart > MAX_TARGET_BYTES) {
    throw new RequestError(`The request target is longer than ${MAX_TARGET_BYTES} bytes`, 414);
  }
  for (let i = targetStart; i < targetEnd; i++) {
    const byte = bytes[i]!;
    if (byte <= 0x20 || byte === 0x7f) throw badRequest("a control character in the request target");
    if (byte === 0x23) throw badRequest("a fragment in the request target");
  }
  if (bytes[targetStart] === 0x2f) return;
  const isAsterisk = bytes[targetStart] === 0x2a && targetEnd === targetStart + 1;
  if (!isAsterisk) throw badRequest("a :path that does not begin with a slash");
  if (head.text(KIND.METHOD) !== "OPTIONS") throw badRequest('the target "*", which is for OPTIONS only');
}

function checkHost({ lines }: ReceivedHead): void {
  for (let line = 0; line < lines.count; line++) {
    if (lines.name(line) !== HOST) continue;
    if (isAuthority(lines.bytes, lines.valueStart(line), lines.valueEnd(line))) return;
    const found = JSON.stringify(lines.value(line).slice(0, 100));
    throw badRequest(`a malformed :authority or Host field, ${found}`);
  }
  throw badRequest("no :authority and no Host field");
}

/** What frames of RFC 6455 are made of. */

type Bytes = Uint8Array<ArrayBuffer>;

/** Kinds of frames (section 5.2); those from 8 on are control frames. */
export const OPCODE = Object.freeze({
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
});

/** Most bytes that a control frame may carry (section 5.5). */
export const MAX_CONTROL_BYTES = 125;

/** Most bytes of the reason in a close frame, behind its code. */
export const MAX_CLOSE_REASON_BYTES = MAX_CONTROL_BYTES - 2;

/** Stands for a close frame without a code; never sent (section 7.4.1). */
export const NO_CLOSE_CODE = 1005;

/** What one side has done against RFC 6455, with the code to close with (section 7.4.1). */
export class WebSocketProtocolError extends Error {
  /** Name of the class. */
  override readonly name = "WebSocketProtocolError";
  readonly code: number;

  constructor(message: string, code = 1002) {
    super(message);
    this.code = code;
  }
}

/**
 * Whether a close frame may carry the code (section 7.4): 1000 to 1003, 1007 to 1014 (1012 to 1014 by the registry of IANA),
 * and 3000 to 4999. 1004 is reserved; 1005, 1006 and 1015 never stand in a frame.
 */
export function isCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

/** What a close frame says. */
export interface CloseFrame {
  /** {@linkcode NO_CLOSE_CODE} when it is empty. */
  readonly code: number;
  readonly reason: string;
}

/**
 * Reads the payload of a close frame (section 5.5.1).
 *
 * @throws {WebSocketProtocolError} 1002 for half a code or one that may not be sent, 1007 for a reason that is not UTF-8
 */
export function readClose(payload: Uint8Array): CloseFrame {
  if (payload.length === 0) return { code: NO_CLOSE_CODE, reason: "" };
  if (payload.length === 1) throw new WebSocketProtocolError("a close frame has half a code");
  const code = payload[0]! * 256 + payload[1]!;
  if (!isCloseCode(code)) throw new WebSocketProtocolError(`a close frame has the code ${code}`);
  return { code, reason: decodeText(payload.subarray(2)) };
}

/** Makes the payload of a close frame; a reason that is too long for it is cut between two characters. */
export function closePayload(code: number, reason: string): Bytes {
  if (code === NO_CLOSE_CODE) return new Uint8Array(0);
  const payload = new Uint8Array(MAX_CONTROL_BYTES);
  payload[0] = code >> 8;
  payload[1] = code & 0xff;
  const { written } = new TextEncoder().encodeInto(reason, payload.subarray(2));
  return payload.subarray(0, 2 + written);
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads text (section 8.1).
 *
 * @throws {WebSocketProtocolError} 1007 when it is not UTF-8
 */
export function decodeText(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new WebSocketProtocolError("a text is not UTF-8", 1007);
  }
}

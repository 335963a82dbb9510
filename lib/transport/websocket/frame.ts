/** What frames of RFC 6455 are made of. */

/** Kinds of frames (section 5.2). */
export const OPCODE = Object.freeze({
  continuation: 0x0,
  text: 0x1,
  binary: 0x2,
  close: 0x8,
  ping: 0x9,
  pong: 0xa,
});

/** Most bytes that a frame of control may carry (section 5.5). */
export const MAX_CONTROL_BYTES = 125;

/** A frame without its framing. */
export interface Frame {
  readonly opcode: number;
  /** Whether the message ends with it. */
  readonly fin: boolean;
  readonly payload: Uint8Array<ArrayBuffer>;
}

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

/** Whether a frame of closing may carry the code (section 7.4, and the registry of codes behind it). */
export function isCloseCode(code: number): boolean {
  if (code >= 3000) return code <= 4999;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014);
}

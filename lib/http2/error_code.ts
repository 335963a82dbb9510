/** Error codes of HTTP/2 (RFC 9113 section 7), and the error that ends a connection. */

/** All codes by their names. */
export const CODE = {
  NO_ERROR: 0x0,
  PROTOCOL_ERROR: 0x1,
  INTERNAL_ERROR: 0x2,
  FLOW_CONTROL_ERROR: 0x3,
  SETTINGS_TIMEOUT: 0x4,
  STREAM_CLOSED: 0x5,
  FRAME_SIZE_ERROR: 0x6,
  REFUSED_STREAM: 0x7,
  CANCEL: 0x8,
  COMPRESSION_ERROR: 0x9,
  CONNECT_ERROR: 0xa,
  ENHANCE_YOUR_CALM: 0xb,
  INADEQUATE_SECURITY: 0xc,
  HTTP_1_1_REQUIRED: 0xd,
} as const;

const NAMES = Object.keys(CODE);

/** The name of a code; of one that nobody knows its number. */
export function codeName(code: number): string {
  return NAMES[code] ?? `0x${code.toString(16)}`;
}

/** The other side breaks the protocol, and the connection has to end (RFC 9113 section 5.4.1). */
export class Http2Error extends Error {
  /** Name of the class. */
  override readonly name = "Http2Error";
  /** One of {@linkcode CODE}. */
  readonly code: number;

  /** @param found what was found, as the end of a sentence that begins with "it sent" */
  constructor(code: number, found: string) {
    super(`${codeName(code)}: it sent ${found}`);
    this.code = code;
  }
}

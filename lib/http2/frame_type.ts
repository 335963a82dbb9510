/** Numbers of the frame layer (RFC 9113 sections 4 to 6). */

/** Types of frames. */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

/** Flags of frames. */
export const FLAG = { ACK: 0x1, END_STREAM: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 } as const;

/** Settings (section 6.5.2; RFC 8441 section 3). */
export const SETTING = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
  ENABLE_CONNECT_PROTOCOL: 8,
} as const;

/** Bytes of the head of a frame. */
export const FRAME_HEAD = 9;
/** What a frame may hold before anything else is agreed, and what is taken here always. */
export const FRAME_BYTES = 16_384;
/** The windows that a connection begins with. */
export const FIRST_WINDOW = 65_535;
/** The largest window, and the largest number of a stream. */
export const MAX_31_BITS = 0x7fff_ffff;

// Error codes of HTTP/2 (RFC 9113 section 7), and the error that ends a connection.

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

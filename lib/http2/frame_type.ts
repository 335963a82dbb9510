/** Numbers, settings and errors of the frame layer (RFC 9113 sections 4 to 7). */

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

/** Bytes of a frame header. */
export const FRAME_HEAD = 9;
/** The initial limit of a frame's payload; this side never announces another one. */
export const FRAME_BYTES = 16_384;
/** The initial flow-control window. */
export const FIRST_WINDOW = 65_535;
/** The largest window, and the largest stream number. */
export const MAX_31_BITS = 0x7fff_ffff;

// Error codes of HTTP/2 (RFC 9113 section 7), and the error that ends a connection.

/** All codes by name. */
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

/** The name of a code; the number of an unknown code. */
export function codeName(code: number): string {
  return NAMES[code] ?? `0x${code.toString(16)}`;
}

/** The peer violates the protocol, and the connection must end (RFC 9113 section 5.4.1). */
export class Http2Error extends Error {
  /** Name of the class. */
  override readonly name = "Http2Error";
  /** One of {@linkcode CODE}. */
  readonly code: number;

  /** @param found the fault, as the end of a sentence that begins with "it sent" */
  constructor(code: number, found: string) {
    super(`${codeName(code)}: it sent ${found}`);
    this.code = code;
  }
}

// The settings that the peer has sent (RFC 9113 section 6.5.2).

/** Most settings in a frame; fewer than a tenth of this are defined. */
const MOST_SETTINGS = 64;

/** The SETTINGS of the peer, or the defaults. */
export class PeerSettings {
  /** Size of its table for field blocks, and the smallest size in the last frame: the encoder must signal both. */
  tableBytes = Infinity;
  leastTableBytes = Infinity;
  maxStreams = Infinity;
  /** The initial window of its streams. */
  streamWindow: number = FIRST_WINDOW;
  extendedConnect = false;
  readonly #isClient: boolean;

  /** @param isClient whether the peer is a client */
  constructor(isClient: boolean) {
    this.#isClient = isClient;
  }

  /**
   * Reads the settings of a frame.
   *
   * @throws {Http2Error} for a setting that is not allowed
   */
  read(bytes: Uint8Array, from: number, to: number): void {
    if (to - from > MOST_SETTINGS * 6) {
      throw new Http2Error(CODE.ENHANCE_YOUR_CALM, "a long list of settings");
    }
    this.leastTableBytes = Infinity;
    for (let at = from; at < to; at += 6) {
      const high = (bytes[at + 2]! << 24) | (bytes[at + 3]! << 16);
      this.#set((bytes[at]! << 8) | bytes[at + 1]!, (high | (bytes[at + 4]! << 8) | bytes[at + 5]!) >>> 0);
    }
  }

  #set(setting: number, value: number): void {
    switch (setting) {
      case SETTING.HEADER_TABLE_SIZE:
        this.tableBytes = value;
        this.leastTableBytes = Math.min(this.leastTableBytes, value);
        return;
      case SETTING.ENABLE_PUSH:
        if (value > 1 || (value === 1 && !this.#isClient)) throw bad("an ENABLE_PUSH that is not allowed");
        return;
      case SETTING.MAX_CONCURRENT_STREAMS:
        this.maxStreams = value;
        return;
      case SETTING.INITIAL_WINDOW_SIZE:
        if (value > MAX_31_BITS) {
          throw bad("an INITIAL_WINDOW_SIZE that is too large", CODE.FLOW_CONTROL_ERROR);
        }
        this.streamWindow = value;
        return;
      case SETTING.MAX_FRAME_SIZE:
        if (value < FRAME_BYTES || value >= 1 << 24) throw bad("a MAX_FRAME_SIZE that is not allowed");
        return;
      case SETTING.ENABLE_CONNECT_PROTOCOL:
        if (value > 1) throw bad("an ENABLE_CONNECT_PROTOCOL above 1");
        this.extendedConnect = value === 1;
    }
  }
}

function bad(found: string, code: number = CODE.PROTOCOL_ERROR): Http2Error {
  return new Http2Error(code, found);
}

// Limits of frames that cost time and have no use.

/**
 * A token bucket. Normal use never empties it; emptying it is an attack (CVE-2019-9512 and its kin, CVE-2023-44487,
 * CVE-2025-8671).
 */
export class FloodBudget {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #since: number;

  /** @param now in milliseconds */
  constructor(burst: number, perSecond: number, now: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
    this.#since = now;
  }

  /** Takes one token or `cost` of them; returns whether there were enough. */
  spend(now: number, cost = 1): boolean {
    if (this.#left < cost) {
      this.#left = Math.min(this.#burst, this.#left + (now - this.#since) * this.#perSecond / 1000);
      this.#since = now;
    }
    this.#left -= cost;
    return this.#left >= 0;
  }

  /** Adds tokens for useful work, which needs such frames. */
  earn(count: number): void {
    if (this.#left < this.#burst) this.#left += count;
  }
}

/** What the other side has said of itself (RFC 9113 section 6.5.2). */

import { CODE, FIRST_WINDOW, FRAME_BYTES, Http2Error, MAX_31_BITS, SETTING } from "./frame_type.ts";

/** Most settings of a frame; there are not a tenth as many. */
const MOST_SETTINGS = 64;

/** The SETTINGS of the other side, or the defaults. */
export class PeerSettings {
  /** How large its table for field blocks may be, and the least that the last frame has said of it: it hears of both. */
  tableBytes = Infinity;
  leastTableBytes = Infinity;
  maxStreams = Infinity;
  /** The window that its streams begin with. */
  streamWindow: number = FIRST_WINDOW;
  extendedConnect = false;
  readonly #isClient: boolean;

  /** @param isClient whether the other side is a client */
  constructor(isClient: boolean) {
    this.#isClient = isClient;
  }

  /**
   * Reads those of a frame.
   *
   * @throws {Http2Error} for what is not allowed
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

// What the other side may do that costs something and serves nobody.

/**
 * A bucket of tokens: what is normal never empties it, and what does is an attack (CVE-2019-9512 and its kin, CVE-2023-44487,
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

  /** Takes one, or as many as something costs; tells whether there were so many. */
  spend(now: number, cost = 1): boolean {
    if (this.#left < cost) {
      this.#left = Math.min(this.#burst, this.#left + (now - this.#since) * this.#perSecond / 1000);
      this.#since = now;
    }
    this.#left -= cost;
    return this.#left >= 0;
  }

  /** Something of use was done, which such frames belong to. */
  earn(count: number): void {
    if (this.#left < this.#burst) this.#left += count;
  }
}

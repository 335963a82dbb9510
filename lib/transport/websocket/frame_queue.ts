/** What waits to be sent to a server, as frames; does not send itself. */

import { frameBytes, Masks, OPCODE, writeFrame } from "./frame.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Sizes of the buffers that frames share. */
const FIRST_BLOCK_BYTES = 1024;
const LAST_BLOCK_BYTES = 64 * 1024;
const NOTHING: Bytes = new Uint8Array(0);

/**
 * Keeps masked frames in order. Short ones share buffers, so that a million of them cost no more than their bytes. Pings
 * and pongs go out before what waits, and there is at most one of each (RFC 6455 section 5.5.3).
 */
export class FrameQueue {
  readonly #masks = new Masks();
  #full: Bytes[] = [];
  #block: Bytes = NOTHING;
  #filled = 0;
  #waiting = 0;
  #taken = 0;
  #ping: Uint8Array | null = null;
  #pong: Uint8Array | null = null;
  #closing = false;
  #closed = false;

  /** Bytes that wait, and those that were taken last; without pings and pongs. */
  get bytes(): number {
    return this.#waiting + this.#taken;
  }

  /** Adds a frame behind all others. */
  push(opcode: number, payload: Uint8Array): void {
    const needed = frameBytes(payload.length);
    if (this.#block.length - this.#filled < needed) {
      if (this.#filled > 0) this.#full.push(this.#block.subarray(0, this.#filled));
      // As much as waits already: one frame alone takes what it needs, and many take few buffers.
      const shared = Math.min(Math.max(this.#waiting, FIRST_BLOCK_BYTES), LAST_BLOCK_BYTES);
      this.#block = new Uint8Array(this.bytes === 0 ? needed : Math.max(needed, shared));
      this.#filled = 0;
    }
    this.#filled = writeFrame(this.#block, this.#filled, opcode, payload, this.#masks.next());
    this.#waiting += needed;
  }

  /** Adds a close frame, behind which nothing may be added. */
  close(payload: Uint8Array): void {
    this.push(OPCODE.close, payload);
    this.#closing = true;
  }

  /** Asks the server whether it is there, in place of a ping that has not left. */
  ping(payload: Uint8Array): void {
    this.#ping = payload;
  }

  /** Responds to a ping, in place of a pong that has not left. */
  pong(payload: Uint8Array): void {
    this.#pong = payload;
  }

  /** What is to be written next; only when what was taken before has been written. */
  take(): Bytes | null {
    this.#taken = 0;
    if (this.#closed) return null;
    if (this.#ping !== null || this.#pong !== null) return this.#takeControl();
    let next = this.#full.shift();
    if (next === undefined) {
      if (this.#filled === 0) return null;
      next = this.#block.subarray(0, this.#filled);
      this.#block = NOTHING;
      this.#filled = 0;
    }
    this.#taken = next.length;
    this.#waiting -= next.length;
    this.#closed = this.#closing && this.#waiting === 0;
    return next;
  }

  /** Drops what has not been taken. */
  clear(): void {
    this.#full = [];
    this.#block = NOTHING;
    this.#filled = this.#waiting = 0;
    this.#ping = this.#pong = null;
  }

  #takeControl(): Bytes {
    const ping = this.#ping;
    const pong = this.#pong;
    const pongBytes = pong === null ? 0 : frameBytes(pong.length);
    const frames = new Uint8Array(pongBytes + (ping === null ? 0 : frameBytes(ping.length)));
    if (pong !== null) writeFrame(frames, 0, OPCODE.pong, pong, this.#masks.next());
    if (ping !== null) writeFrame(frames, pongBytes, OPCODE.ping, ping, this.#masks.next());
    this.#ping = this.#pong = null;
    return frames;
  }
}

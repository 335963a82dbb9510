/** Sends content on a stream, at the pace of the slower side. */

import type { Body, Bytes } from "../http/message.ts";
import type { Http2Stream } from "./stream.ts";

/** The owner of content that is sent. */
export interface SentContentOwner {
  /** All content was written to the connection. */
  onSent(bytes: number): void;
  /** The content failed, with the error of its source. */
  onBroken(bytes: number, error: unknown): void;
}

/** Reads content and writes it as DATA frames; the owner of the stream forwards {@linkcode StreamOwner.onRoom} to it. */
export class SentContent {
  /** How many bytes were written. */
  bytes = 0;
  readonly #stream: Http2Stream;
  readonly #owner: SentContentOwner;
  #stopped = false;
  #piece: Bytes = NOTHING;
  #at = 0;
  #room: PromiseWithResolvers<void> | null = null;

  constructor(stream: Http2Stream, owner: SentContentOwner) {
    this.#stream = stream;
    this.#owner = owner;
  }

  /** Starts sending; content in memory is written at once if there is room. */
  send(body: Body): void {
    const { whole } = body;
    if (whole === null || !this.#stream.hasRoomFor(whole.length)) return void this.#pump(body);
    this.bytes = whole.length;
    const { trailers } = body;
    try {
      this.#stream.write(whole, 0, whole.length, trailers.length === 0);
      if (trailers.length > 0) this.#stream.end(trailers);
    } catch (error) {
      return this.#owner.onBroken(this.bytes, error);
    }
    this.#owner.onSent(this.bytes);
  }

  async #pump(body: Body): Promise<void> {
    try {
      for (;;) {
        const piece = await body.read();
        if (this.#stopped) return;
        if (piece === null) break;
        // Nothing to send; and SETTINGS of the peer may have made its window negative.
        if (piece.length === 0) continue;
        this.#piece = piece;
        this.#at = 0;
        this.#write();
        if (this.#at < piece.length) {
          this.#room = Promise.withResolvers();
          await this.#room.promise;
          if (this.#stopped) return;
        }
      }
      this.#piece = NOTHING;
      this.#stream.end(body.trailers);
    } catch (error) {
      if (!this.#stopped) this.#owner.onBroken(this.bytes, error);
      return;
    }
    this.#owner.onSent(this.bytes);
  }

  #write(): void {
    const next = this.#stream.write(this.#piece, this.#at, this.#piece.length, false);
    this.bytes += next - this.#at;
    this.#at = next;
  }

  /** Continues, since there is room. */
  onRoom(): void {
    const room = this.#room;
    if (room === null || this.#stopped) return;
    this.#write();
    if (this.#at < this.#piece.length) return;
    this.#room = null;
    room.resolve();
  }

  /** Writes nothing more and does not call the owner. */
  stop(): void {
    this.#stopped = true;
    this.#room?.resolve();
    this.#room = null;
  }
}

const NOTHING: Bytes = new Uint8Array(0);

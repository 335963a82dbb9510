/** The ends of a stream that has become a tunnel (RFC 8441), for a relay; of either side. */

import type { Bytes } from "../http/message.ts";
import { CODE } from "./frame_type.ts";
import type { Http2Stream } from "./stream.ts";

/** Reads and writes the content of a stream; the owner of the stream forwards `onRoom()` to it. */
export class StreamSocket {
  readonly #stream: Http2Stream;
  #left: Bytes = NOTHING;
  #room: PromiseWithResolvers<void> | null = null;

  constructor(stream: Http2Stream) {
    this.#stream = stream;
  }

  async read(buffer: Bytes): Promise<number | null> {
    if (this.#left.length === 0) {
      const piece = await this.#stream.content?.read() ?? null;
      if (piece === null) return null;
      this.#left = piece;
    }
    const count = Math.min(this.#left.length, buffer.length);
    buffer.set(this.#left.subarray(0, count));
    this.#left = this.#left.subarray(count);
    return count;
  }

  async write(bytes: Bytes): Promise<number> {
    const stream = this.#stream;
    for (;;) {
      if (stream.closed || stream.localEnded) throw new Error("The stream was closed");
      const count = stream.write(bytes, 0, bytes.length, false);
      if (count > 0) return count;
      this.#room = Promise.withResolvers();
      await this.#room.promise;
    }
  }

  /** There is room, or the stream has ended. */
  onRoom(): void {
    const room = this.#room;
    this.#room = null;
    room?.resolve();
  }

  closeWrite(): Promise<void> {
    if (!this.#stream.localEnded) this.#stream.end();
    return Promise.resolve();
  }

  close(): void {
    this.#stream.reset(CODE.CANCEL);
    this.onRoom();
  }
}

const NOTHING: Bytes = new Uint8Array(0);

/** What waits for a client within the process. */

/** How much may wait before the server is made to wait. */
const MOST_BYTES = 1024 * 1024;
/** How many messages may: the runtime keeps a kilobyte for each (Deno 2.9.6), and counts only their content. */
const MOST_MESSAGES = 8192;

/**
 * Finds out how many messages wait for a client, of which the runtime tells only the bytes: where none wait, the last
 * message that has any is gone, and those before it. Of empty messages behind it there is no telling.
 */
export class ClientBacklog {
  #bytes = 0;
  #messages = 0;
  #lastEmpty = 0;

  /** Notes a message that was handed to the runtime, and the bytes that wait now, its own among them. */
  sent(bytes: number, waitingBytes: number): void {
    this.#messages = 1 + (waitingBytes <= bytes ? this.#lastEmpty : this.#messages);
    this.#lastEmpty = bytes === 0 ? this.#lastEmpty + 1 : 0;
    this.#bytes = waitingBytes;
  }

  /** Whether the server has to wait until it {@linkcode hasRoom} again. */
  get isFull(): boolean {
    return this.#bytes > MOST_BYTES || this.#messages >= MOST_MESSAGES;
  }

  /**
   * Notes the bytes that wait now.
   *
   * @returns whether they are fewer than before
   */
  shrinks(waitingBytes: number): boolean {
    const isLess = waitingBytes < this.#bytes;
    this.#bytes = waitingBytes;
    if (waitingBytes === 0) this.#messages = this.#lastEmpty;
    return isLess;
  }

  /** Whether so much has left that the server may go on; after nothing but empty messages, one with each look. */
  get hasRoom(): boolean {
    return this.#bytes === 0 || (this.#bytes <= MOST_BYTES / 2 && this.#messages < MOST_MESSAGES);
  }
}

/** How long a slow peer may go without a sign of life. */

/** Whoever takes less than this a second is taken for dead. */
const SLOWEST_BYTES_PER_MS = 8;
/** What the sockets of both ends may hold, unseen: as much as systems let a send buffer grow to. */
const MOST_UNSEEN_BYTES = 4 * 1024 * 1024;

/**
 * Knows until when a peer may be busy with what it was sent before it comes to a ping. A proxy cannot see what waits
 * in the sockets, so it goes by what was sent and by the slowest peer that there may be.
 */
export class Patience {
  #until = 0;
  #sinceAsked = 0;

  /**
   * Notes what was sent.
   *
   * @param now in milliseconds
   * @param queuedBytes how much of what was sent waits within the proxy
   */
  sent(bytes: number, now: number, queuedBytes = 0): void {
    const until = Math.max(this.#until, now) + bytes / SLOWEST_BYTES_PER_MS;
    this.#until = Math.min(until, now + (queuedBytes + MOST_UNSEEN_BYTES) / SLOWEST_BYTES_PER_MS);
    this.#sinceAsked += bytes;
  }

  /** Notes that the peer is asked for a sign that it has come as far as this. */
  asked(): void {
    this.#sinceAsked = 0;
  }

  /** Notes that it has responded to what it was asked last: only what was sent since can keep it busy. */
  responded(now: number): void {
    this.#until = Math.min(this.#until, now + this.#sinceAsked / SLOWEST_BYTES_PER_MS);
  }

  /** For how many milliseconds from now on the peer may be busy. */
  left(now: number): number {
    return Math.max(0, this.#until - now);
  }
}

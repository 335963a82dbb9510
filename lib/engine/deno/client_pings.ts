/** Keeps the runtime from giving up on a client that is slow. */

import type { Deadline, DeadlineWheel } from "../../core/deadline_wheel.ts";
import { Patience } from "../../transport/websocket/patience.ts";

/**
 * Restarts the runtime's wait for a sign of the client, as the runtime does when a message or a pong comes (Deno 2.9.6). It
 * is not public, and the only way: the runtime sends the pings, keeps the pongs to itself, and cuts off by itself. Where
 * it is missing, slow clients are cut off.
 */
const RESTART = Object.getOwnPropertySymbols(WebSocket.prototype)
  .find(({ description }) => description === "[[serverHandleIdleTimeout]]");

/** What a {@linkcode ClientPings} takes. */
export interface ClientPingsOptions {
  readonly client: WebSocket;
  readonly wheel: DeadlineWheel;
  /** After how long without a sign of the client the runtime pings it; it cuts it off after as long again. */
  readonly intervalMs: number;
}

/**
 * Has the runtime wait for a client as long as it may be busy with what was sent before a ping.
 *
 * While something waits within the process, no ping may be sent: it would wait as well, and a restart at that time leaves
 * the runtime with a timer that nothing stops. Later pings do go out, and the wait for their pongs is cut short.
 */
export class ClientPings implements Disposable {
  readonly #client: WebSocket;
  readonly #wheel: DeadlineWheel;
  readonly #intervalMs: number;
  readonly #patience = new Patience();
  readonly #deadline: Deadline;
  #restartedAt = 0;
  #isWaiting = false;

  constructor({ client, wheel, intervalMs }: ClientPingsOptions) {
    this.#client = client;
    this.#wheel = wheel;
    this.#intervalMs = RESTART === undefined ? Infinity : intervalMs;
    this.#deadline = wheel.deadline(() => this.#look());
  }

  /**
   * Notes what was sent to the client.
   *
   * @param waitingBytes how much waits for it within the process
   */
  sent(bytes: number, waitingBytes: number): void {
    const now = this.#wheel.lately;
    const half = this.#intervalMs / 2;
    this.#patience.sent(bytes, now, waitingBytes);
    if (this.#intervalMs === Infinity) return;
    // What is read sooner than that leaves a pong time enough.
    if (!this.#isWaiting && this.#patience.left(now) <= half) return;
    if (!this.#isWaiting || now - this.#restartedAt >= half) this.#restart(now, half);
  }

  /** Whether the client may be busy with what waits for it within the process. */
  get isBusy(): boolean {
    return this.#client.bufferedAmount > 0 && this.#patience.left(this.#wheel.lately) > 0;
  }

  #look(): void {
    this.#isWaiting = false;
    if (this.#client.readyState !== WebSocket.OPEN) return;
    const now = this.#wheel.lately;
    if (this.#client.bufferedAmount > 0) this.#restart(now, this.#intervalMs / 2);
    else if (this.#patience.left(now) > 0) this.#restart(now, this.#intervalMs * 1.25);
  }

  #restart(now: number, lookAgainMs: number): void {
    (this.#client as unknown as Record<symbol, () => void>)[RESTART!]!();
    this.#isWaiting = true;
    this.#restartedAt = now;
    this.#deadline.set(lookAgainMs);
  }

  [Symbol.dispose](): void {
    this.#deadline.clear();
  }
}

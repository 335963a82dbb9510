/** Calls to Redis with a timeout; none are made while Redis does not reply. */

import type { Clock } from "../core/clock.ts";

/** Number of consecutive failures after which no calls are made. */
const FAILURES = 5;
/** Interval of checks, without a request, of a store that did not reply. */
const PROBE_MS = 250;

/** How long before the timeout the process checks once more for a reply. */
const LAST_STEP_MS = 2;

/** Options of {@linkcode RedisLink}. */
interface RedisLinkOptions {
  clock: Clock;
  /** Timeout of a reply, in milliseconds. */
  timeoutMs: number;
  /** Called when the store becomes available or unavailable. */
  onAvailability: (available: boolean, reason: string | null) => void;
}

/** A pending call. */
interface Call {
  readonly sentAt: number;
  readonly deadline: number;
  readonly resolve: (reply: readonly number[] | null) => void;
  /** Called with a reply after the timeout. */
  readonly onLate: ((reply: readonly number[]) => void) | null;
  done: boolean;
}

/**
 * One connection with a circuit breaker, for all limiters that share a store.
 *
 * Closed: calls are sent. Open, after consecutive failures: every call returns `null` at once. The half-open state uses
 * no request: a separate check finds out whether the store is available again.
 */
export class RedisLink implements AsyncDisposable {
  readonly #connection: RedisConnection;
  readonly #options: RedisLinkOptions;
  /** Oldest first; all have the same timeout, so the first one expires first. */
  #calls: Call[] = [];
  #head = 0;
  #timer: Disposable | null = null;
  #probe: Disposable | null = null;
  #failures = 0;
  /** Time of the last counted failure. */
  #failedAt = -Infinity;
  #open = false;
  /** The last reported state. */
  #available: boolean | null = null;
  #disposed = false;
  readonly #onUsable: (() => void)[] = [];
  #firstAttempt = Promise.withResolvers<void>();

  /** @param connect makes the connection, which reports its state to the link */
  constructor(connect: (link: RedisLink) => RedisConnection, options: RedisLinkOptions) {
    this.#options = options;
    this.#connection = connect(this);
  }

  /** Whether calls are sent. */
  get available(): boolean {
    return !this.#open && this.#connection.ready;
  }

  /** Resolves when the first attempt to reach the store has succeeded or failed. */
  get tried(): Promise<void> {
    return this.#firstAttempt.promise;
  }

  /** Runs a script; resolves to `null` after the timeout, and returns `null` at once if the store is unavailable. */
  run(
    script: ScriptName,
    keys: number,
    args: readonly string[],
    onLate: ((reply: readonly number[]) => void) | null = null,
  ): Promise<readonly number[] | null> | null {
    if (!this.available) return null;
    const { promise, resolve } = Promise.withResolvers<readonly number[] | null>();
    const sentAt = this.#options.clock.now();
    const call: Call = { sentAt, deadline: sentAt + this.#options.timeoutMs, resolve, onLate, done: false };
    this.#calls.push(call);
    this.#arm();
    this.#connection.run(script, keys, args).then(
      (reply) => this.#replied(call, reply),
      (error: unknown) => this.#failed(call, error),
    );
    return promise;
  }

  /**
   * Runs a script without a waiting request; `false` if it cannot be sent now.
   *
   * @param onError receives a `ReplyError` if Redis has not run it, and another error if that is unknown
   */
  send(
    script: ScriptName,
    keys: number,
    args: readonly string[],
    onReply: (reply: readonly number[]) => void,
    onError: (error: unknown) => void,
  ): boolean {
    if (!this.available) return false;
    this.#connection.run(script, keys, args).then(onReply, (error: unknown) => {
      this.#connection.heed(error);
      onError(error);
    });
    return true;
  }

  /** Adds a callback that runs whenever the store becomes available, before anything else is sent to it. */
  onUsable(callback: () => void): void {
    this.#onUsable.push(callback);
  }

  /** Called by the connection. */
  onReady(): void {
    this.#close();
    this.#firstAttempt.resolve();
  }

  /** Called by the connection. */
  onLost(reason: string): void {
    this.#report(false, reason);
    this.#firstAttempt.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#open = true;
    this.#probe?.[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    this.#firstAttempt.resolve();
    for (const call of this.#calls.slice(this.#head)) this.#end(call, null);
    await this.#connection[Symbol.asyncDispose]();
  }

  #replied(call: Call, reply: readonly number[]): void {
    this.#failures = 0;
    if (call.done) call.onLate?.(reply);
    else this.#end(call, reply);
  }

  #failed(call: Call, error: unknown): void {
    this.#connection.heed(error);
    if (call.done) return;
    this.#end(call, null);
    this.#countFailure(call, error instanceof Error ? error.message : String(error));
  }

  #end(call: Call, reply: readonly number[] | null): void {
    if (call.done) return;
    call.done = true;
    call.resolve(reply);
  }

  /** One timer for all calls, set for the oldest pending call. */
  #arm(): void {
    if (this.#timer !== null || this.#disposed) return;
    const calls = this.#calls;
    while (this.#head < calls.length && calls[this.#head]!.done) this.#head++;
    if (this.#head === calls.length) {
      this.#calls = [];
      this.#head = 0;
      return;
    }
    const { clock } = this.#options;
    const { deadline } = calls[this.#head]!;
    const left = (): number => Math.max(0, deadline - clock.now());
    this.#timer = clock.setTimer(() => {
      // In two steps: replies that arrived while this process was busy are read in between, and are not late.
      this.#timer = clock.setTimer(() => {
        this.#timer = null;
        this.#expire();
        this.#arm();
      }, left());
    }, Math.max(0, left() - LAST_STEP_MS));
  }

  #expire(): void {
    const calls = this.#calls;
    // A timer may fire a fraction of a millisecond early.
    const now = this.#options.clock.now() + 0.5;
    for (; this.#head < calls.length; this.#head++) {
      const call = calls[this.#head]!;
      if (call.done) continue;
      if (call.deadline > now) break;
      this.#end(call, null);
      this.#countFailure(call, `no answer within ${this.#options.timeoutMs} ms`);
    }
    if (this.#head < 1024) return;
    this.#calls = calls.slice(this.#head);
    this.#head = 0;
  }

  /** Calls that were pending at the same time fail together, and count as one failure. */
  #countFailure(call: Call, reason: string): void {
    if (call.sentAt < this.#failedAt) return;
    this.#failedAt = this.#options.clock.now();
    if (++this.#failures < FAILURES || this.#open || this.#disposed) return;
    this.#open = true;
    this.#report(false, reason);
    // Pending calls would fail too.
    for (const call of this.#calls.slice(this.#head)) this.#end(call, null);
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe?.[Symbol.dispose]();
    this.#probe = this.#options.clock.setTimer(() => this.#tryAgain(), PROBE_MS);
  }

  #tryAgain(): void {
    if (this.#disposed) return;
    // A lost connection reports by itself when it is available again.
    if (this.#connection.ready) this.#connection.check().then(() => this.#open && this.#close(), () => {});
    this.#probeLater();
  }

  #close(): void {
    if (this.#disposed) return;
    this.#probe?.[Symbol.dispose]();
    this.#probe = null;
    this.#failures = 0;
    this.#open = false;
    for (const callback of this.#onUsable) callback();
    this.#report(true, null);
  }

  #report(available: boolean, reason: string | null): void {
    if (this.#disposed || available === this.#available) return;
    this.#available = available;
    this.#options.onAvailability(available, reason);
  }
}

// The connection to Redis or Valkey that a store needs.

/** The scripts that a store runs. */
export type ScriptName = "decide" | "permit" | "correct";

/** A connection that reconnects by itself. */
export interface RedisConnection extends AsyncDisposable {
  /** Whether a command is sent at once now. */
  readonly ready: boolean;

  /**
   * Runs a script by its hash, and sends its text if the server does not know it.
   *
   * Rejects at once when the connection is lost. It has no timeout for a server that does not reply.
   *
   * @param keys number of arguments that are keys
   */
  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]>;

  /** Checks whether the server can count now; rejects if not. */
  check(): Promise<unknown>;

  /** Handles the error of a call, which may redirect to another server. */
  heed(error: unknown): void;
}

/** Receives the state of a connection. */
export interface ConnectionListener {
  /** The server can count. */
  onReady(): void;
  /** The server cannot be reached, or can no longer count. */
  onLost(reason: string): void;
}

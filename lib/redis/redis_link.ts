/** Calls to Redis that never take longer than they may, and none while it does not reply. */

import type { Clock } from "../core/clock.ts";

/** Failures in a row after which nothing is asked any more. */
const FAILURES = 5;
/** How often a store that did not reply is tried again, without a request. */
const PROBE_MS = 250;

/** How long before the timeout a reply is looked for once more. */
const LAST_STEP_MS = 2;

/** What a {@linkcode RedisLink} takes. */
interface RedisLinkOptions {
  clock: Clock;
  /** How long a reply may take. */
  timeoutMs: number;
  /** Called when the store can be used again, or not any more. */
  onAvailability: (available: boolean, reason: string | null) => void;
}

/** A call that is waited for. */
interface Call {
  readonly sentAt: number;
  readonly deadline: number;
  readonly resolve: (reply: readonly number[] | null) => void;
  /** Called with a reply that came too late. */
  readonly onLate: ((reply: readonly number[]) => void) | null;
  over: boolean;
}

/**
 * One connection with a circuit breaker, for all limiters that share a store.
 *
 * Closed: calls go out. Open, after failures in a row: every call gives `null` at once. The half-open state costs no
 * request anything: a check of its own finds out whether the store is back.
 */
export class RedisLink implements AsyncDisposable {
  readonly #connection: RedisConnection;
  readonly #options: RedisLinkOptions;
  /** Oldest first; all have the same time, so the first one is due first. */
  #calls: Call[] = [];
  #head = 0;
  #timer: Disposable | null = null;
  #probe: Disposable | null = null;
  #failures = 0;
  /** When the latest of them was noticed. */
  #failedAt = -Infinity;
  #open = false;
  /** What was reported last. */
  #available: boolean | null = null;
  #disposed = false;
  readonly #onUsable: (() => void)[] = [];
  #firstWord = Promise.withResolvers<void>();

  /** @param connect makes the connection, which tells the link how it fares */
  constructor(connect: (link: RedisLink) => RedisConnection, options: RedisLinkOptions) {
    this.#options = options;
    this.#connection = connect(this);
  }

  /** Whether calls go out. */
  get available(): boolean {
    return !this.#open && this.#connection.ready;
  }

  /** Resolves when the store has been reached, or has not been at the first try. */
  get tried(): Promise<void> {
    return this.#firstWord.promise;
  }

  /** Runs a script; `null` when no reply comes in time, and at once when none can come. */
  run(
    script: ScriptName,
    keys: number,
    args: readonly string[],
    onLate: ((reply: readonly number[]) => void) | null = null,
  ): Promise<readonly number[] | null> | null {
    if (!this.available) return null;
    const { promise, resolve } = Promise.withResolvers<readonly number[] | null>();
    const sentAt = this.#options.clock.now();
    const call: Call = { sentAt, deadline: sentAt + this.#options.timeoutMs, resolve, onLate, over: false };
    this.#calls.push(call);
    this.#arm();
    this.#connection.run(script, keys, args).then(
      (reply) => this.#answered(call, reply),
      (error: unknown) => this.#failed(call, error),
    );
    return promise;
  }

  /**
   * Runs a script that no request waits for; `false` when it cannot be sent now.
   *
   * @param onError gets a `ReplyError` when Redis has not run it, and another error when nobody knows
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

  /** Calls back whenever the store can be used again, before anything else is sent to it. */
  onUsable(callback: () => void): void {
    this.#onUsable.push(callback);
  }

  /** Told by the connection. */
  onReady(): void {
    this.#close();
    this.#firstWord.resolve();
  }

  /** Told by the connection. */
  onLost(reason: string): void {
    this.#report(false, reason);
    this.#firstWord.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#open = true;
    this.#probe?.[Symbol.dispose]();
    this.#timer?.[Symbol.dispose]();
    this.#firstWord.resolve();
    for (const call of this.#calls.slice(this.#head)) this.#end(call, null);
    await this.#connection[Symbol.asyncDispose]();
  }

  #answered(call: Call, reply: readonly number[]): void {
    this.#failures = 0;
    if (call.over) call.onLate?.(reply);
    else this.#end(call, reply);
  }

  #failed(call: Call, error: unknown): void {
    this.#connection.heed(error);
    if (call.over) return;
    this.#end(call, null);
    this.#countFailure(call, error instanceof Error ? error.message : String(error));
  }

  #end(call: Call, reply: readonly number[] | null): void {
    if (call.over) return;
    call.over = true;
    call.resolve(reply);
  }

  /** One timer for all calls, for the oldest that still waits. */
  #arm(): void {
    if (this.#timer !== null || this.#disposed) return;
    const calls = this.#calls;
    while (this.#head < calls.length && calls[this.#head]!.over) this.#head++;
    if (this.#head === calls.length) {
      this.#calls = [];
      this.#head = 0;
      return;
    }
    const { clock } = this.#options;
    const { deadline } = calls[this.#head]!;
    const left = (): number => Math.max(0, deadline - clock.now());
    this.#timer = clock.setTimer(() => {
      // In two steps: what has arrived while this process was busy is read in between, and is not late.
      this.#timer = clock.setTimer(() => {
        this.#timer = null;
        this.#expire();
        this.#arm();
      }, left());
    }, Math.max(0, left() - LAST_STEP_MS));
  }

  #expire(): void {
    const calls = this.#calls;
    // A timer may ring a fraction of a millisecond early.
    const now = this.#options.clock.now() + 0.5;
    for (; this.#head < calls.length; this.#head++) {
      const call = calls[this.#head]!;
      if (call.over) continue;
      if (call.deadline > now) break;
      this.#end(call, null);
      this.#countFailure(call, `no answer within ${this.#options.timeoutMs} ms`);
    }
    if (this.#head < 1024) return;
    this.#calls = calls.slice(this.#head);
    this.#head = 0;
  }

  /** Calls that were under way together fail together, and count once. */
  #countFailure(call: Call, reason: string): void {
    if (call.sentAt < this.#failedAt) return;
    this.#failedAt = this.#options.clock.now();
    if (++this.#failures < FAILURES || this.#open || this.#disposed) return;
    this.#open = true;
    this.#report(false, reason);
    // Who waits already has no better prospects.
    for (const call of this.#calls.slice(this.#head)) this.#end(call, null);
    this.#probeLater();
  }

  #probeLater(): void {
    this.#probe?.[Symbol.dispose]();
    this.#probe = this.#options.clock.setTimer(() => this.#tryAgain(), PROBE_MS);
  }

  #tryAgain(): void {
    if (this.#disposed) return;
    // A connection that is lost says itself when it is back.
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

// What the store needs of a connection to Redis or Valkey.

/** The scripts that a store runs. */
export type ScriptName = "decide" | "permit" | "correct";

/** A connection that is made again by itself whenever it is lost. */
export interface RedisConnection extends AsyncDisposable {
  /** Whether a command that is sent now goes out at once. */
  readonly ready: boolean;

  /**
   * Runs a script by its hash, and sends its text when the server does not know it.
   *
   * Rejects at once when the connection is lost; does not by itself give up on a server that says nothing.
   *
   * @param keys how many of the arguments are keys
   */
  run(script: ScriptName, keys: number, args: readonly string[]): Promise<readonly number[]>;

  /** Finds out whether the server would count now; rejects when it does not. */
  check(): Promise<unknown>;

  /** Told of the error that a call ended with: it may say that another server has to be asked. */
  heed(error: unknown): void;
}

/** Hears how a connection fares. */
export interface ConnectionListener {
  /** The server counts. */
  onReady(): void;
  /** It cannot be reached or does not count, or does not any more. */
  onLost(reason: string): void;
}

/** Lines to a file or a stream, many with one write. */

import type { Clock } from "../core/clock.ts";

/** Where bytes go; `Deno.stdout` and `Deno.stderr` are such. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<number>;
  writeSync(bytes: Uint8Array): number;
}

/** What a {@linkcode LineWriter} takes. */
interface LineWriterOptions {
  sink: ByteSink;
  clock: Clock;
  /** Makes the line that tells how many others were lost. */
  lossLine: (lost: number) => string;
  /** How long a line may wait for others. @default {100} */
  flushAfterMs?: number;
  /** How much text is written without waiting, in characters. @default {32768} */
  flushAtChars?: number;
  /** How much text may wait while the sink is slow, in characters; what comes on top is lost. @default {4194304} */
  maxWaitingChars?: number;
}

const RETRY_MS = 20;

/**
 * Collects lines and writes them together: when there are enough, or a moment after the first.
 *
 * When the sink does not keep up, lines are dropped, not the requests that they tell of: a log reader that
 * stalls must neither stop the proxy nor eat its memory. The number of lost lines is written as soon as there
 * is room. A sink that is gone for good (a closed pipe) swallows everything after.
 */
export class LineWriter implements Disposable {
  readonly #sink: ByteSink;
  readonly #clock: Clock;
  readonly #lossLine: (lost: number) => string;
  readonly #flushAfterMs: number;
  readonly #flushAtChars: number;
  readonly #maxWaitingChars: number;
  readonly #encoder = new TextEncoder();
  #text = "";
  #unreported = 0;
  #lost = 0;
  #timer: Disposable | null = null;
  #writing: Promise<void> | null = null;
  #closed = false;

  constructor(options: LineWriterOptions) {
    const { sink, clock, lossLine, flushAfterMs = 100, flushAtChars = 32_768, maxWaitingChars = 4_194_304 } =
      options;
    this.#sink = sink;
    this.#clock = clock;
    this.#lossLine = lossLine;
    this.#flushAfterMs = flushAfterMs;
    this.#flushAtChars = flushAtChars;
    this.#maxWaitingChars = maxWaitingChars;
  }

  /** How many lines were lost because the sink was slow or gone. */
  get lost(): number {
    return this.#lost;
  }

  /** Takes a line, without its end. */
  line(text: string): void {
    if (this.#closed || this.#text.length + text.length >= this.#maxWaitingChars) {
      this.#lost++;
      this.#unreported++;
      return;
    }
    this.#text += text + "\n";
    if (this.#writing !== null) return;
    if (this.#text.length >= this.#flushAtChars) this.#start();
    else if (this.#timer === null) {
      this.#timer = this.#clock.setTimer(() => this.#start(), this.#flushAfterMs);
    }
  }

  /** Writes what waits; resolves when it is written. */
  async flush(): Promise<void> {
    while (!this.#closed && (this.#writing !== null || this.#text !== "")) {
      if (this.#writing === null) this.#start();
      await this.#writing;
    }
  }

  /**
   * Writes what waits before it returns, for the moment before the process ends.
   *
   * Does nothing while another write runs: that the sink is slow must not keep the process from ending.
   */
  flushSync(): void {
    if (this.#closed || this.#writing !== null || this.#text === "") return;
    try {
      let bytes = this.#encoder.encode(this.#take());
      while (bytes.length > 0) bytes = bytes.subarray(this.#sink.writeSync(bytes));
    } catch {
      this.#closed = true;
    }
  }

  /** Writes what waits as {@linkcode flushSync} does; lines that come after are lost. */
  [Symbol.dispose](): void {
    this.flushSync();
    this.#stopTimer();
    this.#closed = true;
  }

  #take(): string {
    this.#stopTimer();
    // Whatever was lost came after what waits here, so this is the place to tell of it.
    const text = this.#unreported === 0 ? this.#text : `${this.#text}${this.#lossLine(this.#unreported)}\n`;
    this.#unreported = 0;
    this.#text = "";
    return text;
  }

  #stopTimer(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }

  #start(): void {
    this.#writing = this.#write(this.#encoder.encode(this.#take())).then(() => {
      this.#writing = null;
      if (this.#text === "" || this.#closed) return;
      if (this.#text.length >= this.#flushAtChars || this.#unreported > 0) this.#start();
      else this.#timer ??= this.#clock.setTimer(() => this.#start(), this.#flushAfterMs);
    });
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0 && !this.#closed) {
      try {
        rest = rest.subarray(await this.#sink.write(rest));
      } catch (error) {
        // A pipe that another process made non-blocking is full, not broken.
        if (error instanceof Deno.errors.WouldBlock) await this.#pause();
        else this.#closed = true;
      }
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#clock.setTimer(resolve, RETRY_MS));
  }
}

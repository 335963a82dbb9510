/** Lines to a file or a stream, many with one write. */

import type { Clock } from "../core/clock.ts";
import { LineBytes } from "./line_bytes.ts";

/** Where lines go. */
export interface LineSink {
  /** Where the next line is to be written, without its end; `null` when it is lost. */
  begin(): LineBytes | null;
  /** The line is written. */
  end(): void;
  /** Takes a whole line, without its end. */
  line(text: string): void;
}

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
  /** How much is written without waiting. @default {32768} */
  flushAtBytes?: number;
  /** How much may wait while the sink is slow; what comes on top is lost. @default {4194304} */
  maxWaitingBytes?: number;
}

const RETRY_MS = 20;
const LINE_FEED = 0x0a;

/**
 * Collects lines and writes them together: when there are enough, or a moment after the first.
 *
 * When the sink does not keep up, lines are dropped, not the requests that they tell of: a log reader that
 * stalls must neither stop the proxy nor eat its memory. The number of lost lines is written as soon as there
 * is room. A sink that is gone for good (a closed pipe) swallows everything after.
 */
export class LineWriter implements LineSink, Disposable {
  readonly #sink: ByteSink;
  readonly #clock: Clock;
  readonly #lossLine: (lost: number) => string;
  readonly #flushAfterMs: number;
  readonly #flushAtBytes: number;
  readonly #maxWaitingBytes: number;
  #out = new LineBytes();
  /** What is written next, once what is being written has been. */
  #spare: LineBytes | null = null;
  #unreported = 0;
  #lost = 0;
  #timer: Disposable | null = null;
  #writing: Promise<void> | null = null;
  #closed = false;

  constructor(options: LineWriterOptions) {
    const { sink, clock, lossLine, flushAfterMs = 100, flushAtBytes = 32_768, maxWaitingBytes = 4_194_304 } =
      options;
    this.#sink = sink;
    this.#clock = clock;
    this.#lossLine = lossLine;
    this.#flushAfterMs = flushAfterMs;
    this.#flushAtBytes = flushAtBytes;
    this.#maxWaitingBytes = maxWaitingBytes;
  }

  /** How many lines were lost because the sink was slow or gone. */
  get lost(): number {
    return this.#lost;
  }

  begin(): LineBytes | null {
    if (!this.#closed && this.#out.length < this.#maxWaitingBytes) return this.#out;
    this.#lost++;
    this.#unreported++;
    return null;
  }

  end(): void {
    this.#out.byte(LINE_FEED);
    if (this.#writing !== null) return;
    if (this.#out.length >= this.#flushAtBytes) this.#start();
    else if (this.#timer === null) {
      this.#timer = this.#clock.setTimer(() => this.#start(), this.#flushAfterMs);
    }
  }

  line(text: string): void {
    const out = this.begin();
    if (out === null) return;
    out.text(text);
    this.end();
  }

  /** Writes what waits; resolves when it is written. */
  async flush(): Promise<void> {
    while (!this.#closed && (this.#writing !== null || this.#out.length > 0)) {
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
    if (this.#closed || this.#writing !== null || this.#out.length === 0) return;
    try {
      let bytes = this.#take().written;
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

  #take(): LineBytes {
    this.#stopTimer();
    const out = this.#out;
    if (this.#unreported > 0) {
      // Whatever was lost came after what waits here, so this is the place to tell of it.
      out.text(this.#lossLine(this.#unreported));
      out.byte(LINE_FEED);
      this.#unreported = 0;
    }
    this.#out = this.#spare ?? new LineBytes();
    this.#spare = null;
    return out;
  }

  #stopTimer(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
  }

  #start(): void {
    const out = this.#take();
    this.#writing = this.#write(out.written).then(() => {
      this.#writing = null;
      out.length = 0;
      // One that has grown while the sink was slow is not kept.
      if (out.bytes.length <= this.#flushAtBytes * 2) this.#spare = out;
      if (this.#out.length === 0 || this.#closed) return;
      if (this.#out.length >= this.#flushAtBytes || this.#unreported > 0) this.#start();
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

/** Lines to a file or a stream, many with one write. */

import { RotatingFileHandler } from "@std/log/rotating-file-handler";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { ResolvedAccessFile } from "./access_log_options.ts";
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

// Lines to a file, many with one write, with rotation.

/** What a {@linkcode LineFile} takes. */
interface LineFileOptions {
  readonly file: ResolvedAccessFile;
  readonly clock: Clock;
  /** Told once when it cannot be written, until it can again; `null` when it can. */
  readonly onProblem: (problem: string | null) => void;
}

/** How long a line may wait for others. */
const FLUSH_AFTER_MS = 100;
/** How much is written without waiting, in bytes. */
const FLUSH_AT_BYTES = 131_072;

/**
 * Appends lines to a file.
 *
 * Written at once, or a tenth of a second after the first line. What cannot be written is dropped and counted: a full disk
 * must neither stop the proxy nor eat its memory.
 */
export class LineFile implements LineSink, Disposable {
  readonly #options: LineFileOptions;
  readonly #flushAtBytes: number;
  #file: Deno.FsFile | null;
  /** How large the file is. */
  #size = 0;
  readonly #out = new LineBytes();
  #timer: Disposable | null = null;
  #lost = 0;
  #waiting = 0;
  #closed = false;

  /** @throws {Error} when the file cannot be opened */
  constructor(options: LineFileOptions) {
    const { file: { maxBytes } } = options;
    this.#options = options;
    // What is written together stays together: a file gets no larger than it may.
    this.#flushAtBytes = Math.min(FLUSH_AT_BYTES, maxBytes / 4);
    try {
      this.#file = this.#open();
    } catch (error) {
      throw new Error(`Cannot log requests to ${options.file.path}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** How many lines were lost. */
  get lost(): number {
    return this.#lost;
  }

  begin(): LineBytes {
    return this.#out;
  }

  end(): void {
    const out = this.#out;
    out.byte(LINE_FEED);
    this.#waiting++;
    if (out.length >= this.#flushAtBytes) this.flush();
    else this.#timer ??= this.#options.clock.setTimer(() => this.flush(), FLUSH_AFTER_MS);
  }

  line(text: string): void {
    this.#out.text(text);
    this.end();
  }

  /** Writes what waits. */
  flush(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    if (this.#out.length === 0) return;
    const broken = this.#file === null;
    try {
      this.#write(this.#file ??= this.#open(), this.#out.written);
      if (broken) this.#options.onProblem(null);
    } catch (error) {
      this.#lost += this.#waiting;
      this.#close();
      if (!broken) this.#options.onProblem(messageOf(error));
    }
    this.#out.length = 0;
    this.#waiting = 0;
  }

  #write(file: Deno.FsFile, bytes: Uint8Array): void {
    const { maxBytes } = this.#options.file;
    const into = this.#size > 0 && this.#size + bytes.length > maxBytes ? this.#rotate() : file;
    for (let written = 0; written < bytes.length;) written += into.writeSync(bytes.subarray(written));
    this.#size += bytes.length;
  }

  /** Begins a new file; the numbers of the former ones are the handler's business. */
  #rotate(): Deno.FsFile {
    const { path: filename, maxBytes, keep: maxBackupCount } = this.#options.file;
    this.#close();
    const handler = new RotatingFileHandler("INFO", { filename, maxBytes, maxBackupCount, bufferSize: 0 });
    try {
      handler.setup();
      handler.rotateLogFiles();
    } finally {
      closeQuietly(() => handler.destroy());
    }
    return this.#file = this.#open();
  }

  /** Opens the file anew: a program that rotates logs has moved the former one away. */
  reopen(): void {
    this.flush();
    const broken = this.#file === null;
    this.#close();
    try {
      this.#file = this.#open();
      if (broken) this.#options.onProblem(null);
    } catch (error) {
      if (!broken) this.#options.onProblem(messageOf(error));
    }
  }

  #open(): Deno.FsFile {
    if (this.#closed) throw new Error("the log is closed");
    const { path, maxBytes } = this.#options.file;
    const file = Deno.openSync(path, { append: true, create: true });
    this.#size = maxBytes === Infinity ? 0 : file.statSync().size;
    return file;
  }

  #close(): void {
    const file = this.#file;
    this.#file = null;
    if (file !== null) closeQuietly(() => file.close());
  }

  /** Writes what waits, and closes the file. */
  [Symbol.dispose](): void {
    this.flush();
    this.#close();
    this.#closed = true;
  }
}

/** What cannot be closed is closed already. */
function closeQuietly(close: () => void): void {
  try {
    close();
  } catch {
    // Nothing is left to close.
  }
}

/** Writes lines to a file or a stream, many with one write. */

import { RotatingFileHandler } from "@std/log/rotating-file-handler";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { ResolvedAccessFile } from "./access_log_options.ts";
import { LineBytes } from "./line_bytes.ts";

/** A destination of lines. */
export interface LineSink {
  /** The buffer for the next line, without its end; `null` if the line is lost. */
  begin(): LineBytes | null;
  /** Ends the line. */
  end(): void;
  /** Writes a complete line, without its end. */
  line(text: string): void;
}

/** A destination of bytes, such as `Deno.stdout` and `Deno.stderr`. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<number>;
  writeSync(bytes: Uint8Array): number;
}

/** Options of {@linkcode LineWriter}. */
interface LineWriterOptions {
  sink: ByteSink;
  clock: Clock;
  /** Makes the line that reports the number of lost lines. */
  lossLine: (lost: number) => string;
  /** How long a line may wait for others, in milliseconds. @default {100} */
  flushAfterMs?: number;
  /** Size of the buffer that is written at once, in bytes. @default {32768} */
  flushAtBytes?: number;
  /** Maximum size of pending lines if the sink is slow; further lines are lost. @default {4194304} */
  maxWaitingBytes?: number;
}

const RETRY_MS = 20;
const LINE_FEED = 0x0a;

/**
 * Collects lines and writes them together: when there are enough, or a moment after the first.
 *
 * If the sink is too slow, lines are dropped, not their requests: a stalled log reader must neither stop the proxy nor
 * fill its memory. The number of lost lines is written as soon as there is space. After a permanent failure (a closed
 * pipe) all further lines are dropped.
 */
export class LineWriter implements LineSink, Disposable {
  readonly #sink: ByteSink;
  readonly #clock: Clock;
  readonly #lossLine: (lost: number) => string;
  readonly #flushAfterMs: number;
  readonly #flushAtBytes: number;
  readonly #maxWaitingBytes: number;
  #out = new LineBytes();
  /** The buffer for the time after the current write. */
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

  /** Number of lines lost because the sink was slow or closed. */
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

  /** Writes pending lines; resolves when they are written. */
  async flush(): Promise<void> {
    while (!this.#closed && (this.#writing !== null || this.#out.length > 0)) {
      if (this.#writing === null) this.#start();
      await this.#writing;
    }
  }

  /**
   * Writes pending lines synchronously, before the process ends.
   *
   * Does nothing during another write: a slow sink must not keep the process from ending.
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

  /** Writes pending lines like {@linkcode flushSync}; later lines are lost. */
  [Symbol.dispose](): void {
    this.flushSync();
    this.#stopTimer();
    this.#closed = true;
  }

  #take(): LineBytes {
    this.#stopTimer();
    const out = this.#out;
    if (this.#unreported > 0) {
      // All lost lines are later than the pending ones, so this is the place to report them.
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
      // A buffer that has grown while the sink was slow is not reused.
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

/** Options of {@linkcode LineFile}. */
interface LineFileOptions {
  readonly file: ResolvedAccessFile;
  readonly clock: Clock;
  /** Called once when writing fails, and with `null` when it works again. */
  readonly onProblem: (problem: string | null) => void;
}

/** How long a line may wait for others, in milliseconds. */
const FLUSH_AFTER_MS = 100;
/** Size of the buffer that is written at once, in bytes. */
const FLUSH_AT_BYTES = 131_072;

/**
 * Appends lines to a file.
 *
 * Lines are written when there are enough, or a tenth of a second after the first. Lines that cannot be written are
 * dropped and counted: a full disk must neither stop the proxy nor fill its memory.
 */
export class LineFile implements LineSink, Disposable {
  readonly #options: LineFileOptions;
  readonly #flushAtBytes: number;
  #file: Deno.FsFile | null;
  /** Size of the file in bytes. */
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
    // Lines of one write are never split, so this keeps the file below its maximum size.
    this.#flushAtBytes = Math.min(FLUSH_AT_BYTES, maxBytes / 4);
    try {
      this.#file = this.#open();
    } catch (error) {
      throw new Error(`Cannot log requests to ${options.file.path}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Number of lost lines. */
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

  /** Writes pending lines. */
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

  /** Starts a new file; the handler numbers the former ones. */
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

  /** Opens the file again: a program that rotates logs has moved the former one. */
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

  /** Writes pending lines, and closes the file. */
  [Symbol.dispose](): void {
    this.flush();
    this.#close();
    this.#closed = true;
  }
}

/** Ignores errors: a file that cannot be closed is already closed. */
function closeQuietly(close: () => void): void {
  try {
    close();
  } catch {
    // Nothing is left to close.
  }
}

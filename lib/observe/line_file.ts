/** Lines to a file, many with one write, with rotation. */

import { RotatingFileHandler } from "@std/log/rotating-file-handler";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { ResolvedAccessFile } from "./access_log_options.ts";
import { LineBytes } from "./line_bytes.ts";
import type { LineSink } from "./line_writer.ts";

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
const LINE_FEED = 0x0a;

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

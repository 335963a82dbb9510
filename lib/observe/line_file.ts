/** Lines to a file by the handlers of `@std/log`, many with one write, with rotation. */

import { FileHandler } from "@std/log/file-handler";
import { RotatingFileHandler } from "@std/log/rotating-file-handler";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { ResolvedAccessFile } from "./access_log_options.ts";

/** What a {@linkcode LineFile} takes. */
interface LineFileOptions {
  readonly file: ResolvedAccessFile;
  readonly clock: Clock;
  /** Told once when it cannot be written, until it can again; `null` when it can. */
  readonly onProblem: (problem: string | null) => void;
}

/** How long a line may wait for others. */
const FLUSH_AFTER_MS = 100;
/** How much text is written without waiting, in characters. */
const FLUSH_AT_CHARS = 32_768;

/**
 * Appends lines to a file.
 *
 * Written at once, or a tenth of a second after the first line. What cannot be written is dropped and counted: a full disk
 * must neither stop the proxy nor eat its memory.
 */
export class LineFile implements Disposable {
  readonly #options: LineFileOptions;
  readonly #flushAtChars: number;
  #handler: FileHandler;
  /** How large the file is; counted in characters, of which those beyond ASCII, rare in a log, take more bytes. */
  #size = 0;
  #text = "";
  #timer: Disposable | null = null;
  #broken = false;
  #lost = 0;
  #waiting = 0;

  /** @throws {Error} when the file cannot be opened */
  constructor(options: LineFileOptions) {
    const { file: { maxBytes } } = options;
    this.#options = options;
    // What is written together stays together: a file gets no larger than it may.
    this.#flushAtChars = Math.min(FLUSH_AT_CHARS, maxBytes / 4);
    try {
      this.#handler = this.#open();
    } catch (error) {
      throw new Error(`Cannot log requests to ${options.file.path}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** How many lines were lost. */
  get lost(): number {
    return this.#lost;
  }

  /** Takes a line, without its end. */
  log(line: string): void {
    this.#text += this.#text === "" ? line : `\n${line}`;
    this.#waiting++;
    if (this.#text.length >= this.#flushAtChars) this.flush();
    else this.#timer ??= this.#options.clock.setTimer(() => this.flush(), FLUSH_AFTER_MS);
  }

  /** Writes what waits. */
  flush(): void {
    this.#timer?.[Symbol.dispose]();
    this.#timer = null;
    if (this.#text === "") return;
    const text = this.#text;
    const lines = this.#waiting;
    this.#text = "";
    this.#waiting = 0;
    try {
      if (this.#broken) this.#handler = this.#open();
      this.#write(text);
      if (this.#broken) this.#options.onProblem(null);
      this.#broken = false;
    } catch (error) {
      this.#lost += lines;
      this.#close();
      if (!this.#broken) this.#options.onProblem(messageOf(error));
      this.#broken = true;
    }
  }

  #write(text: string): void {
    const { maxBytes } = this.#options.file;
    const handler = this.#handler;
    if (this.#size > 0 && this.#size + text.length + 1 > maxBytes) {
      (handler as RotatingFileHandler).rotateLogFiles();
      this.#size = 0;
    }
    // Its own `log` would encode all of the text only to learn its length, and once more to write it.
    FileHandler.prototype.log.call(handler, text);
    this.#size += text.length + 1;
  }

  /** Opens the file anew: a program that rotates logs has moved the former one away. */
  reopen(): void {
    this.flush();
    if (!this.#broken) this.#close();
    try {
      this.#handler = this.#open();
      this.#broken = false;
    } catch (error) {
      this.#broken = true;
      this.#options.onProblem(messageOf(error));
    }
  }

  #open(): FileHandler {
    const { path: filename, maxBytes, keep } = this.#options.file;
    // A buffer of its own would hold lines back, and write some of them twice after a failure.
    const options = { filename, bufferSize: 0 };
    const handler = maxBytes === Infinity
      ? new FileHandler("INFO", options)
      : new RotatingFileHandler("INFO", { ...options, maxBytes, maxBackupCount: keep });
    handler.setup();
    if (maxBytes !== Infinity) this.#size = Deno.statSync(filename).size;
    return handler;
  }

  #close(): void {
    try {
      this.#handler.destroy();
    } catch {
      // A rotation that failed has closed it already.
    }
  }

  /** Writes what waits, and closes the file. */
  [Symbol.dispose](): void {
    this.flush();
    if (!this.#broken) this.#close();
    this.#broken = true;
  }
}

/** The access log: one line per request. */

import { checkedBoolean, unexpected } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { AccessEntry } from "./observer.ts";
import {
  type AccessLineFormat,
  combinedFormat,
  jsonFormat,
  type SentBytes,
  textFormat,
  wholeJsonFormat,
  wholeTextFormat,
} from "./access_line.ts";
import type { AccessFormat, ResolvedAccessLog } from "./access_log_options.ts";
import { escapeControls } from "./text_format.ts";
import type { LineSink } from "./line_writer.ts";

/** Options of {@linkcode AccessLog}. */
interface AccessLogInit {
  /** Receives the lines. */
  sink: LineSink;
  options: Pick<ResolvedAccessLog, "format" | "fields" | "sample" | "when">;
  clock: Clock;
  random: Random;
  /** Called when a function of the configuration has thrown. */
  onError: (name: string, error: unknown) => void;
}

/** Maximum time until a change of the wall clock is noticed, in milliseconds. */
const OFFSET_MS = 100;

/**
 * Logs requests.
 *
 * Lines bypass the `Logger` of `@std/log` and are written directly to the output buffer: the record made by a `Logger`
 * costs more than the line.
 */
export class AccessLog {
  /** Whether functions of the configuration receive entries, and may keep them. */
  readonly givesEntries: boolean;
  /** Whether no request is logged at present because the level of the log is too high. */
  muted = false;
  readonly #sink: LineSink;
  /** Formats lines; `null` if a function of the configuration makes them. */
  readonly #format: AccessLineFormat | null;
  readonly #makeLine: AccessFormat | null;
  readonly #when: ResolvedAccessLog["when"];
  readonly #sample: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onError: AccessLogInit["onError"];
  /** Wall clock minus clock, in milliseconds. */
  #offset = 0;
  #offsetUntil = -Infinity;

  constructor({ sink, options, clock, random, onError }: AccessLogInit) {
    const { format, when, sample } = options;
    this.givesEntries = typeof format === "function" || when !== null;
    this.#sink = sink;
    this.#format = formatOf(options);
    this.#makeLine = typeof format === "function" ? format : null;
    this.#when = when;
    this.#sample = sample;
    this.#clock = clock;
    this.#random = random;
    this.#onError = onError;
  }

  /** Whether the next request is in the sample. Read once per request, before its entry is made. */
  get samples(): boolean {
    if (this.muted) return false;
    return this.#sample === 1 || this.#random() < this.#sample;
  }

  /**
   * Logs a request.
   *
   * @param endAt end of the request, in milliseconds of the clock; it is the time in the log
   * @param sent parts of the client's request as received bytes, if available
   */
  record(entry: AccessEntry, endAt: number = this.#clock.now(), sent: SentBytes | null = null): void {
    if (this.#when !== null && !this.#passes(entry)) return;
    if (this.#makeLine !== null) return this.#recordLine(this.#makeLine, entry);
    // Reading the time costs up to a fifth of a line.
    if (endAt >= this.#offsetUntil) {
      this.#offset = this.#clock.wallTime() - this.#clock.now();
      this.#offsetUntil = endAt + OFFSET_MS;
    }
    const out = this.#sink.begin();
    if (out === null) return;
    this.#format!(out, entry, sent, endAt + this.#offset);
    this.#sink.end();
  }

  #recordLine(makeLine: AccessFormat, entry: AccessEntry): void {
    try {
      this.#sink.line(lineOf(makeLine, entry));
    } catch (error) {
      this.#onError("accessLog.format", error);
    }
  }

  // If the function fails, log the entry rather than lose it.
  #passes(entry: AccessEntry): boolean {
    try {
      return checkedBoolean(this.#when!(entry));
    } catch (error) {
      this.#onError("accessLog.when", error);
      return true;
    }
  }
}

function formatOf({ format, fields }: Pick<ResolvedAccessLog, "format" | "fields">): AccessLineFormat | null {
  switch (format) {
    case "text":
      return fields === null ? wholeTextFormat() : textFormat(fields);
    case "json":
      return fields === null ? wholeJsonFormat() : jsonFormat(fields);
    case "combined":
      return combinedFormat();
    default:
      return null;
  }
}

function lineOf(format: AccessFormat, entry: AccessEntry): string {
  const line: unknown = format(entry);
  if (typeof line !== "string") throw unexpected("a string", line);
  // Text of a client must not be able to begin a line or control a terminal.
  return escapeControls(line);
}

/** A line a request. */

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

/** What an {@linkcode AccessLog} takes. */
interface AccessLogInit {
  /** Takes the lines. */
  sink: LineSink;
  options: Pick<ResolvedAccessLog, "format" | "fields" | "sample" | "when">;
  clock: Clock;
  random: Random;
  /** Told of a function of the configuration that threw. */
  onError: (name: string, error: unknown) => void;
}

/** How long a change of the calendar may go unseen. */
const OFFSET_MS = 100;

/**
 * Logs requests.
 *
 * Lines go past the `Logger` of `@std/log` into the buffer that is written out: the record that a `Logger` makes costs
 * more than the line.
 */
export class AccessLog {
  /** Whether functions of the configuration get its entries, and may keep them. */
  readonly givesEntries: boolean;
  /** Whether no request is logged for now, because the level of the log is above theirs. */
  muted = false;
  readonly #sink: LineSink;
  /** Writes lines; `null` where a function of the configuration makes them. */
  readonly #format: AccessLineFormat | null;
  readonly #makeLine: AccessFormat | null;
  readonly #when: ResolvedAccessLog["when"];
  readonly #sample: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onError: AccessLogInit["onError"];
  /** Between the clock and the calendar. */
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

  /** Whether the next request is one of those that are logged: asked once a request, before its entry is made. */
  get samples(): boolean {
    if (this.muted) return false;
    return this.#sample === 1 || this.#random() < this.#sample;
  }

  /**
   * Logs one request.
   *
   * @param endAt when it ended, in the clock's milliseconds: its time in the log
   * @param sent what of the client's request is at hand as it came
   */
  record(entry: AccessEntry, endAt: number = this.#clock.now(), sent: SentBytes | null = null): void {
    if (this.#when !== null && !this.#isWanted(entry)) return;
    if (this.#makeLine !== null) return this.#recordLine(this.#makeLine, entry);
    // Asking for the time costs as much as a fifth of the line.
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

  // An entry that nobody could decide about is better there than lost.
  #isWanted(entry: AccessEntry): boolean {
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
  // Whatever of a client's is in it can neither begin a line nor drive a terminal.
  return escapeControls(line);
}

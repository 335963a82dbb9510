/** A line a request. */

import { checkedBoolean, unexpected } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import type { AccessEntry } from "./access_entry.ts";
import {
  type AccessLineFormat,
  combinedFormat,
  formatAccessText,
  jsonFormat,
  textFormat,
  wholeJsonFormat,
} from "./access_line.ts";
import type { AccessFormat, ResolvedAccessLog } from "./access_log_options.ts";
import { escapeControls, TimestampFormatter } from "./text_format.ts";

/** What an {@linkcode AccessLog} takes. */
interface AccessLogInit {
  /** Takes the lines; handlers of `@std/log` do. */
  handler: { log(line: string): void };
  options: Pick<ResolvedAccessLog, "format" | "fields" | "sample" | "when">;
  clock: Clock;
  random: Random;
  /** Told of a function of the configuration that threw. */
  onError: (name: string, error: unknown) => void;
}

/**
 * Logs requests.
 *
 * Lines go to the handler of `@std/log` as they are, past its `Logger`: the record that a `Logger` makes costs
 * more than the line.
 */
export class AccessLog {
  /** Whether its lines have nothing that the client says of itself, which need not be read then. */
  readonly brief: boolean;
  /** Whether no request is logged for now, because the level of the log is above theirs. */
  muted = false;
  readonly #handler: AccessLogInit["handler"];
  readonly #format: AccessLineFormat;
  readonly #when: ResolvedAccessLog["when"];
  readonly #sample: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #onError: AccessLogInit["onError"];
  readonly #timestamps = new TimestampFormatter();

  constructor({ handler, options, clock, random, onError }: AccessLogInit) {
    const { format, fields, when } = options;
    this.brief = format === "text" && fields === null && when === null;
    this.#handler = handler;
    this.#format = formatOf(options);
    this.#when = options.when;
    this.#sample = options.sample;
    this.#clock = clock;
    this.#random = random;
    this.#onError = onError;
  }

  /** Whether the next request is one of those that are logged: asked once a request, before its entry is made. */
  get samples(): boolean {
    if (this.muted) return false;
    return this.#sample === 1 || this.#random() < this.#sample;
  }

  /** Logs one request, with the moment of its end as its time. */
  record(entry: AccessEntry): void {
    if (this.#when !== null && !this.#isWanted(entry)) return;
    const now = this.#clock.wallTime();
    let line: string;
    try {
      line = this.#format(entry, this.#timestamps.format(now), now);
    } catch (error) {
      return this.#onError("accessLog.format", error);
    }
    this.#handler.log(line);
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

function formatOf({ format, fields }: Pick<ResolvedAccessLog, "format" | "fields">): AccessLineFormat {
  switch (format) {
    case "text":
      return fields === null ? formatAccessText : textFormat(fields);
    case "json":
      return fields === null ? wholeJsonFormat() : jsonFormat(fields);
    case "combined":
      return combinedFormat();
    default:
      return (entry) => lineOf(format, entry);
  }
}

function lineOf(format: AccessFormat, entry: AccessEntry): string {
  const line: unknown = format(entry);
  if (typeof line !== "string") throw unexpected("a string", line);
  // Whatever of a client's is in it can neither begin a line nor drive a terminal.
  return escapeControls(line);
}

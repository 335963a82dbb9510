/** A line a request. */

import type { Clock } from "../core/clock.ts";
import type { AccessEntry } from "./access_entry.ts";
import { type AccessLineFormat, formatAccessJson, formatAccessText } from "./access_line.ts";
import type { LineHandler } from "./line_handler.ts";
import type { LogFormat } from "./log_level.ts";
import { TimestampFormatter } from "./timestamp.ts";

/** What an {@linkcode AccessLog} takes. */
interface AccessLogOptions {
  handler: LineHandler;
  format: LogFormat;
  clock: Clock;
}

/**
 * Logs requests.
 *
 * Lines go to the handler of `@std/log` as they are, past its `Logger`: the record that a `Logger` makes costs
 * more than the line.
 */
export class AccessLog {
  readonly #handler: LineHandler;
  readonly #format: AccessLineFormat;
  readonly #clock: Clock;
  readonly #timestamps = new TimestampFormatter();

  constructor({ handler, format, clock }: AccessLogOptions) {
    this.#handler = handler;
    this.#format = format === "json" ? formatAccessJson : formatAccessText;
    this.#clock = clock;
  }

  /** Logs one request, with the moment of its end as its time. */
  record(entry: AccessEntry): void {
    this.#handler.log(this.#format(entry, this.#timestamps.format(this.#clock.wallTime())));
  }
}

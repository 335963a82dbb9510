/** Puts a log together. */

import { Logger } from "@std/log/logger";
import type { Clock } from "../core/clock.ts";
import { AccessLog } from "./access_log.ts";
import { LineHandler } from "./line_handler.ts";
import { type ByteSink, LineWriter } from "./line_writer.ts";
import { isLogged, type LogFormat, type LogLevel, toStdLevel } from "./log_level.ts";
import { LogObserver } from "./log_observer.ts";
import type { Observer } from "./observer.ts";
import { createRecordFormatter } from "./record_format.ts";
import { TimestampFormatter } from "./timestamp.ts";

/** What a log takes. */
interface LogOptions {
  readonly clock: Clock;
  /** What is less important is not logged; requests are `"info"`. @default {"info"} */
  level?: LogLevel;
  /** @default {"text"} */
  format?: LogFormat;
  /** Whether the observer logs requests, as far as the level lets it. @default {true} */
  access?: boolean;
  /** Where a line a request goes. @default {Deno.stdout} */
  stdout?: ByteSink;
  /** Where everything else goes. @default {Deno.stderr} */
  stderr?: ByteSink;
}

/** How much a log says, while it is written. */
export interface LogControl {
  /** What is less important is not logged; requests are `"info"`, where they were logged at the start. */
  level: LogLevel;
}

/** A log; dispose it when nothing is logged any more. */
export interface Log extends LogControl, Disposable {
  /** Logs requests; `null` when the level does not let it. */
  readonly accessLog: AccessLog | null;
  /** What a proxy reports to. */
  readonly observer: Observer;
  /** The logger of `@std/log`, for lines of one's own: `logger.info("text", { kind: "mine", ... })`. */
  readonly logger: Logger;
  /** Takes whole lines that the log of another process has made of requests. */
  accessLines(text: string): void;
  /** Writes what waits to be written. */
  flush(): Promise<void>;
}

/**
 * Makes a log: a line a request to `stdout`, everything else to `stderr`, as one line of text or JSON each.
 *
 * Lines are written together (every 100 ms, or when there are many), so a line costs no write. While a reader
 * does not keep up, up to 4 MiB wait; then lines are dropped and counted, and a line tells how many.
 */
export function createLog(options: LogOptions): Log {
  const { level = "info", format = "text", access = true, clock } = options;
  const { stdout = Deno.stdout, stderr = Deno.stderr } = options;
  const lossLine = createLossLine(format, clock);
  const accessWriter = new LineWriter({ sink: stdout, clock, lossLine });
  const eventWriter = new LineWriter({ sink: stderr, clock, lossLine });
  const formatter = createRecordFormatter(format, clock);
  const stdLevel = toStdLevel(level);
  const accessHandler = new LineHandler(stdLevel, formatter, accessWriter);
  const eventHandler = new LineHandler(stdLevel, formatter, eventWriter);
  const logger = new Logger("lbproxy", stdLevel, { handlers: [eventHandler] });
  const accessLog = !isLogged("info", level) ? null : new AccessLog({
    handler: accessHandler,
    options: { format, fields: null, sample: 1, when: null },
    clock,
    random: () => 0,
    onError: () => {},
  });
  const observer = new LogObserver({ logger, accessLog: access ? accessLog : null, level });
  return {
    observer,
    get level(): LogLevel {
      return observer.level;
    },
    set level(wanted: LogLevel) {
      observer.level = wanted;
      logger.levelName = toStdLevel(wanted);
      eventHandler.levelName = toStdLevel(wanted);
      if (accessLog !== null) accessLog.muted = !isLogged("info", wanted);
    },
    accessLog,
    logger,
    accessLines: (text) => accessWriter.line(text),
    async flush(): Promise<void> {
      await Promise.all([accessWriter.flush(), eventWriter.flush()]);
    },
    [Symbol.dispose](): void {
      accessHandler.destroy();
      eventHandler.destroy();
    },
  };
}

/** Makes the line that tells how many others were lost. */
export function createLossLine(format: LogFormat, clock: Clock): (lost: number) => string {
  const timestamps = new TimestampFormatter();
  return (lost) => {
    const time = timestamps.format(clock.wallTime());
    const message = `${lost} log lines were lost because their reader is slow`;
    return format === "json"
      ? `{"time":"${time}","level":"warn","kind":"lost_lines","message":"${message}","lost":${lost}}`
      : `${time} warn ${message}`;
  };
}

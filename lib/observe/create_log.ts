/** Makes a log. */

import { BaseHandler, type FormatterFunction, type LevelName } from "@std/log/base-handler";
import { Logger } from "@std/log/logger";
import type { Clock } from "../core/clock.ts";
import type { AccessEntry, Observer } from "./observer.ts";
import { AccessLog } from "./access_log.ts";
import { eventLevel, eventMessage } from "./event_message.ts";
import { isLogged, type LogFormat, type LogLevel, type ProxyEvent, toStdLevel } from "./events.ts";
import { type ByteSink, LineWriter } from "./line_writer.ts";
import { createRecordFormatter, TimestampFormatter } from "./text_format.ts";

/** Options of {@linkcode createLog}. */
interface LogOptions {
  readonly clock: Clock;
  /** Minimum level; requests are `"info"`. @default {"info"} */
  level?: LogLevel;
  /** @default {"text"} */
  format?: LogFormat;
  /** Whether the observer logs requests, if the level allows it. @default {true} */
  access?: boolean;
  /** Destination of request lines. @default {Deno.stdout} */
  stdout?: ByteSink;
  /** Destination of all other lines. @default {Deno.stderr} */
  stderr?: ByteSink;
}

/** Controls the level of a log while it is in use. */
export interface LogControl {
  /** Minimum level; requests are `"info"`, if they were logged at the start. */
  level: LogLevel;
}

/** A log; dispose it when it is no longer used. */
export interface Log extends LogControl, Disposable {
  /** Logs requests; `null` if the level does not allow it. */
  readonly accessLog: AccessLog | null;
  /** The observer for a proxy. */
  readonly observer: Observer;
  /** The logger of `@std/log`, for additional lines: `logger.info("text", { kind: "mine", ... })`. */
  readonly logger: Logger;
  /** Adds complete request lines from the log of another process. */
  accessLines(text: string): void;
  /** Writes all pending lines. */
  flush(): Promise<void>;
}

/**
 * Makes a log: a line per request on `stdout`, everything else on `stderr`, each as one line of text or JSON.
 *
 * Lines are written in batches (every 100 ms, or when there are many), so a line costs no write. If a reader is too
 * slow, up to 4 MiB wait; further lines are dropped and counted, and a line reports their number.
 */
export function createLog(options: LogOptions): Log {
  const { level = "info", format = "text", access = true, clock } = options;
  const { stdout = Deno.stdout, stderr = Deno.stderr } = options;
  const lossLine = createLossLine(format, clock);
  const accessWriter = new LineWriter({ sink: stdout, clock, lossLine });
  const eventWriter = new LineWriter({ sink: stderr, clock, lossLine });
  const formatter = createRecordFormatter(format, clock);
  const stdLevel = toStdLevel(level);
  const eventHandler = new LineHandler(stdLevel, formatter, eventWriter);
  const logger = new Logger("lbproxy", stdLevel, { handlers: [eventHandler] });
  const accessLog = !isLogged("info", level) ? null : new AccessLog({
    sink: accessWriter,
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
      accessWriter[Symbol.dispose]();
      eventHandler.destroy();
    },
  };
}

/** Makes the line that reports the number of lost lines. */
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

// The observer that writes the log.

/** Options of {@linkcode LogObserver}. */
interface LogObserverOptions {
  logger: Logger;
  /** `null` if requests are not logged. */
  accessLog: AccessLog | null;
  level: LogLevel;
}

/** Logs all events of a proxy. */
class LogObserver implements Observer {
  readonly wantsAccess: boolean;
  readonly #logger: Logger;
  readonly #accessLog: AccessLog | null;
  /** Minimum level. */
  level: LogLevel;

  constructor({ logger, accessLog, level }: LogObserverOptions) {
    this.#logger = logger;
    this.#accessLog = accessLog;
    this.level = level;
    this.wantsAccess = accessLog !== null;
  }

  event(event: ProxyEvent): void {
    const level = eventLevel(event);
    // Also checked here, because making the message costs more than the check.
    if (isLogged(level, this.level)) this.#logger[level](eventMessage(event), event);
  }

  access(entry: AccessEntry): void {
    this.#accessLog?.record(entry);
  }
}

// The handler of `@std/log` that writes lines.

/** A handler of `@std/log` that passes its lines to a {@linkcode LineWriter}. */
class LineHandler extends BaseHandler {
  readonly #writer: LineWriter;

  constructor(level: LevelName, formatter: FormatterFunction, writer: LineWriter) {
    super(level, { formatter });
    this.#writer = writer;
  }

  /** Writes a formatted line. */
  override log(line: string): void {
    this.#writer.line(line);
  }

  /** Writes pending lines and ends. */
  override destroy(): void {
    this.#writer[Symbol.dispose]();
  }
}

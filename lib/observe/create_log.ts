/** Puts a log together. */

import { BaseHandler, type FormatterFunction, type LevelName } from "@std/log/base-handler";
import { Logger } from "@std/log/logger";
import type { Clock } from "../core/clock.ts";
import type { AccessEntry, Observer } from "./observer.ts";
import { AccessLog } from "./access_log.ts";
import { eventLevel, eventMessage } from "./event_message.ts";
import { isLogged, type LogFormat, type LogLevel, type ProxyEvent, toStdLevel } from "./events.ts";
import { type ByteSink, LineWriter } from "./line_writer.ts";
import { createRecordFormatter, TimestampFormatter } from "./text_format.ts";

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

// The observer that writes the log.

/** What a {@linkcode LogObserver} takes. */
interface LogObserverOptions {
  logger: Logger;
  /** `null` when requests are not logged. */
  accessLog: AccessLog | null;
  level: LogLevel;
}

/** Logs whatever a proxy reports. */
class LogObserver implements Observer {
  readonly wantsAccess: boolean;
  readonly #logger: Logger;
  readonly #accessLog: AccessLog | null;
  /** What is less important is not logged. */
  level: LogLevel;

  constructor({ logger, accessLog, level }: LogObserverOptions) {
    this.#logger = logger;
    this.#accessLog = accessLog;
    this.level = level;
    this.wantsAccess = accessLog !== null;
  }

  event(event: ProxyEvent): void {
    const level = eventLevel(event);
    // Asked here too, because making the message costs more than the question.
    if (isLogged(level, this.level)) this.#logger[level](eventMessage(event), event);
  }

  access(entry: AccessEntry): void {
    this.#accessLog?.record(entry);
  }
}

// The end of `@std/log` that writes.

/** A handler of `@std/log` that hands its lines to a {@linkcode LineWriter}. */
class LineHandler extends BaseHandler {
  readonly #writer: LineWriter;

  constructor(level: LevelName, formatter: FormatterFunction, writer: LineWriter) {
    super(level, { formatter });
    this.#writer = writer;
  }

  /** Takes a line that is formatted already. */
  override log(line: string): void {
    this.#writer.line(line);
  }

  /** Writes what waits and ends. */
  override destroy(): void {
    this.#writer[Symbol.dispose]();
  }
}

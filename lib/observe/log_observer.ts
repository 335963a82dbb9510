/** The observer that writes the log. */

import type { Logger } from "@std/log/logger";
import type { AccessEntry } from "./access_entry.ts";
import type { AccessLog } from "./access_log.ts";
import { eventLevel, eventMessage } from "./event_message.ts";
import type { ProxyEvent } from "./events.ts";
import { isLogged, type LogLevel } from "./log_level.ts";
import type { Observer } from "./observer.ts";

/** What a {@linkcode LogObserver} takes. */
interface LogObserverOptions {
  logger: Logger;
  /** `null` when requests are not logged. */
  accessLog: AccessLog | null;
  level: LogLevel;
}

/** Logs whatever a proxy reports. */
export class LogObserver implements Observer {
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

/** How much is logged. */

import type { LevelName } from "@std/log/levels";

/** Names of the levels, the one that says most first. */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const satisfies readonly LogLevel[];

/** A level: what is less important is not logged. Requests are `info`. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** The formats that a log can have. */
export const LOG_FORMATS = ["text", "json"] as const;

/** `"text"` for people, `"json"` for one object a line. */
export type LogFormat = typeof LOG_FORMATS[number];

const STD_NAMES: Readonly<Record<LogLevel, LevelName>> = {
  debug: "DEBUG",
  info: "INFO",
  warn: "WARN",
  error: "ERROR",
};

/** Whether lines of `level` are logged when the log is set to `threshold`. */
export function isLogged(level: LogLevel, threshold: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(threshold);
}

/** The name that `@std/log` has for a level. */
export function toStdLevel(level: LogLevel): LevelName {
  return STD_NAMES[level];
}

/** The formats of everything that is logged beside requests. */

import type { FormatterFunction, LogRecord } from "@std/log/base-handler";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/callback.ts";
import { escapeControls, escapeQuoted } from "./escape_text.ts";
import type { LogFormat } from "./log_level.ts";
import { TimestampFormatter } from "./timestamp.ts";

/** What a log line says beside its message: the second argument of the logger's functions. */
interface LogFields {
  /** What kind of thing happened, such as `health`. */
  readonly kind: string;
  /** Where in the code it happened; written below the line in text logs. */
  readonly stack?: string | null;
  readonly [name: string]: unknown;
}

/**
 * Makes the formatter of `@std/log` for a format.
 *
 * Text: `TIME LEVEL MESSAGE`, ` id=ID` where it is about a request, and the stack in indented lines below where there is one; no text of a client's
 * choosing can begin a line. JSON: `time`, `level`, `kind`, `message`, and the fields; one that
 * is called `message` too comes as `detail`.
 */
export function createRecordFormatter(format: LogFormat, clock: Clock): FormatterFunction {
  const timestamps = new TimestampFormatter();
  const formatRecord = format === "json" ? formatRecordJson : formatRecordText;
  return (record) => formatRecord(record, timestamps.format(clock.wallTime()));
}

function fieldsOf(record: LogRecord): LogFields {
  const fields = record.args[0];
  return typeof fields === "object" && fields !== null ? fields as LogFields : { kind: "log" };
}

function formatRecordText(record: LogRecord, time: string): string {
  const line = `${time} ${record.levelName.toLowerCase()} ${escapeControls(record.msg)}`;
  const { stack, requestId } = fieldsOf(record);
  const named = typeof requestId === "string" ? `${line} id=${escapeControls(requestId)}` : line;
  if (typeof stack !== "string") return named;
  const frames = stack.split("\n").map((frame) => `\n    ${escapeControls(frame.trim())}`);
  return named + frames.join("");
}

function formatRecordJson(record: LogRecord, time: string): string {
  const { kind, message: detail, time: _time, level: _level, ...fields } = fieldsOf(record);
  const level = record.levelName.toLowerCase();
  const message = escapeQuoted(record.msg);
  const head = `{"time":"${time}","level":"${level}","kind":"${escapeQuoted(kind)}","message":"${message}"`;
  const rest = formatFields({ detail, ...fields });
  return rest === "{}" ? `${head}}` : `${head},${rest.slice(1)}`;
}

/** As one JSON object; what is `undefined` is left out, and what cannot be JSON says why. */
function formatFields(fields: Readonly<Record<string, unknown>>): string {
  let json: string;
  try {
    json = JSON.stringify(fields);
  } catch {
    // Fields that a filter gives: a BigInt, or an object that holds itself.
    const members = Object.entries(fields).map(([name, value]) => [name, writable(value)]);
    json = JSON.stringify(Object.fromEntries(members));
  }
  // JSON leaves C1 controls as they are, and a terminal obeys some of them.
  return escapeControls(json);
}

function writable(value: unknown): unknown {
  try {
    JSON.stringify(value);
    return value;
  } catch (error) {
    return `cannot be written: ${messageOf(error)}`;
  }
}

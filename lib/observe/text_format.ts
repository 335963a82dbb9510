/** The formats of log lines, except access log lines. */

import type { FormatterFunction, LogRecord } from "@std/log/base-handler";
import { messageOf } from "../core/callback.ts";
import type { Clock } from "../core/clock.ts";
import type { LogFormat } from "./events.ts";

/** Fields of a log line in addition to its message: the second argument of the logger's functions. */
interface LogFields {
  /** Kind of the event, such as `health`. */
  readonly kind: string;
  /** Stack trace; written below the line in text logs. */
  readonly stack?: string | null;
  readonly [name: string]: unknown;
}

/**
 * Makes the formatter of `@std/log` for a format.
 *
 * Text: `TIME LEVEL MESSAGE`, ` id=ID` if it is about a request, and the stack, if any, in indented lines below. Text
 * from a client can never begin a line. JSON: `time`, `level`, `kind`, `message`, and the fields; a field named
 * `message` is written as `detail`.
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

/**
 * Formats the fields as one JSON object; omits `undefined`, and replaces values that are not valid JSON by an
 * explanation.
 */
function formatFields(fields: Readonly<Record<string, unknown>>): string {
  let json: string;
  try {
    json = JSON.stringify(fields);
  } catch {
    // Fields from a filter: a BigInt, or a circular object.
    const members = Object.entries(fields).map(([name, value]) => [name, jsonValueOf(value)]);
    json = JSON.stringify(Object.fromEntries(members));
  }
  // JSON keeps C1 controls, and terminals obey some of them.
  return escapeControls(json);
}

function jsonValueOf(value: unknown): unknown {
  try {
    JSON.stringify(value);
    return value;
  } catch (error) {
    return `cannot be written: ${messageOf(error)}`;
  }
}

// Makes text from clients safe for log lines.

/**
 * Whether a character is harmful in a log: controls (a line feed forges a line, an escape controls the terminal), C1
 * controls, line separators, and characters that change the direction of writing.
 */
function isHarmful(code: number): boolean {
  if (code < 0x20) return true;
  if (code < 0x7f) return false;
  return code <= 0x9f || code === 0x2028 || code === 0x2029 || (code >= 0x202a && code <= 0x202e) ||
    (code >= 0x2066 && code <= 0x2069);
}

function escapeCharacter(code: number): string {
  if (code === 0x22) return '\\"';
  if (code === 0x5c) return "\\\\";
  if (code === 0x0a) return "\\n";
  if (code === 0x0d) return "\\r";
  if (code === 0x09) return "\\t";
  return "\\u" + code.toString(16).padStart(4, "0");
}

/**
 * Escapes characters that are not allowed between double quotes: quotes, backslashes and harmful characters.
 *
 * The result is the inside of a JSON string, and valid for text logs too. Harmless text is returned unchanged, at the
 * cost of a scan.
 */
export function escapeQuoted(text: string): string {
  let escaped = "";
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code !== 0x22 && code !== 0x5c && !isHarmful(code)) continue;
    escaped += text.slice(copied, i) + escapeCharacter(code);
    copied = i + 1;
  }
  return copied === 0 ? text : escaped + text.slice(copied);
}

/** Escapes only harmful characters, for text in a line without quotes. */
export function escapeControls(text: string): string {
  let escaped = "";
  let copied = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (!isHarmful(code)) continue;
    escaped += text.slice(copied, i) + escapeCharacter(code);
    copied = i + 1;
  }
  return copied === 0 ? text : escaped + text.slice(copied);
}

// Times as text, cheap enough for every request.

/** Formats times as RFC 3339 in UTC with milliseconds (`2026-11-23T12:00:00.123Z`). */
export class TimestampFormatter {
  #second = NaN;
  #prefix = "";

  /** @param wallTimeMs milliseconds since 1970-01-01 UTC */
  format(wallTimeMs: number): string {
    const whole = Math.floor(wallTimeMs);
    const second = Math.floor(whole / 1000);
    // Building a Date costs more than the rest of an access line, so it is done once per second.
    if (second !== this.#second) {
      this.#second = second;
      this.#prefix = new Date(second * 1000).toISOString().slice(0, 20);
    }
    const ms = whole - second * 1000;
    return this.#prefix + (ms < 10 ? "00" : ms < 100 ? "0" : "") + ms + "Z";
  }
}

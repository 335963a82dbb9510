/** Options of the access log: content, format and destination. */

import {
  ANYTHING,
  byteSize,
  choose,
  FUNCTION,
  list,
  number,
  object,
  oneOf,
  orFalse,
  required,
  type Rule,
  text,
  whole,
  wordOrFunction,
} from "../core/options.ts";
import { type ByteSize, parseByteSize } from "../core/units.ts";
import { describeValue, nearestName } from "../core/describe_value.ts";
import { isToken } from "../http/header_fields.ts";
import type { AccessEntry } from "./observer.ts";

/** Named formats. */
const ACCESS_FORMATS: readonly ["text", "json", "combined"] = ["text", "json", "combined"];

/** Makes a line from an entry; control characters in it are escaped. */
export type AccessFormat = Exclude<NonNullable<AccessLogOptions["format"]>, string>;

/** A file to which lines are appended. */
type AccessLogFile = Exclude<NonNullable<AccessLogOptions["to"]>, string>;

/** Possible fields of a line; `header:NAME` is a field of the request. */
const ACCESS_FIELDS: readonly AccessField[] = [
  "requestId",
  "traceId",
  "client",
  "peer",
  "method",
  "host",
  "target",
  "protocol",
  "tls",
  "referer",
  "userAgent",
  "status",
  "route",
  "server",
  "pool",
  "durationMs",
  "queueMs",
  "connectMs",
  "firstByteMs",
  "bytes",
  "bytesReceived",
  "attempts",
  "tries",
  "limits",
  "limited",
  "wouldLimit",
  "error",
  "end",
];

/** Name of a field of a line. */
export type AccessField = Exclude<NonNullable<AccessLogOptions["fields"]>[number], `header:${string}`>;

/**
 * Content, format and destination of the access log.
 *
 * @example Lines of JSON in a file that is rotated
 * ```ts
 * import { defineConfig } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: ["127.0.0.1:9001"],
 *   accessLog: {
 *     format: "json",
 *     to: { file: "access.log", maxSize: "100MiB", keep: 5 },
 *     fields: ["client", "method", "target", "status", "durationMs", "header:x-tenant"],
 *   },
 * });
 * ```
 */
export interface AccessLogOptions {
  /**
   * `"text"` for people and `grep`, `"json"` for one object per line, `"combined"` for the format of Apache and nginx,
   * or a function that makes the line.
   *
   * @default {"text"}
   */
  format?: "text" | "json" | "combined" | ((entry: AccessEntry) => string);
  /** Destination of the lines. @default {"stdout"} */
  to?: "stdout" | "stderr" | {
    /** Path of the file. */
    file: string;
    /**
     * A line that would exceed this size starts a new file; the former one becomes `file.1`.
     *
     * @default {no limit}
     */
    maxSize?: ByteSize;
    /** Number of former files to keep, the oldest with the highest number. @default {5} */
    keep?: number;
  };
  /** Share of requests that are logged, chosen at random. @default {1} */
  sample?: number;
  /** Decides whether an entry is logged; must not be async. @default {always} */
  when?: (entry: AccessEntry) => boolean;
  /**
   * Fields of a line of `"json"` or `"text"`, in this order: `"requestId"`, `"client"`, ... or `"header:NAME"` for a
   * field of the request. Text always begins with time, method, target, status and duration.
   *
   * @default {all fields that apply}
   */
  fields?: readonly (
    | "requestId"
    | "traceId"
    | "client"
    | "peer"
    | "method"
    | "host"
    | "target"
    | "protocol"
    | "tls"
    | "referer"
    | "userAgent"
    | "status"
    | "route"
    | "server"
    | "pool"
    | "durationMs"
    | "queueMs"
    | "connectMs"
    | "firstByteMs"
    | "bytes"
    | "bytesReceived"
    | "attempts"
    | "tries"
    | "limits"
    | "limited"
    | "wouldLimit"
    | "error"
    | "end"
    | `header:${string}`
  )[];
  /**
   * Query keys and fields whose values are replaced by `[redacted]`, in addition to those that always are (`token`,
   * `password`, `authorization`, `cookie`, ...); `false` replaces nothing.
   *
   * @default {[]}
   */
  redact?: false | readonly string[];
}

/** Minimum of `maxSize`: a smaller file would be rotated for every few lines. */
const LEAST_BYTES = 1024;

const FILE: Rule = object<AccessLogFile>({
  file: required(text("the path of a file", (file) => file !== "" && !file.includes("\0"))),
  maxSize: byteSize(LEAST_BYTES, Number.MAX_SAFE_INTEGER),
  keep: whole(1, 1000),
}, '"stdout", "stderr", or an object with "file"');

const FIELD: Rule = (field, report) => {
  if (typeof field !== "string") return text("the name of a field")(field, report);
  const header = headerOf(field);
  if (header === null ? (ACCESS_FIELDS as readonly string[]).includes(field) : isToken(header)) return;
  const nearest = nearestName(field, ACCESS_FIELDS);
  const hint = nearest === undefined ? "" : `, did you mean "${nearest}"?`;
  report(`must be "header:NAME" or ${oneOf(ACCESS_FIELDS)}, received ${describeValue(field)}${hint}`);
};

/** The options of the access log. */
export const ACCESS_LOG: Rule = orFalse(object<AccessLogOptions>(
  {
    format: wordOrFunction(ACCESS_FORMATS),
    to: choose((to) => to === "stdout" || to === "stderr" ? ANYTHING : FILE),
    sample: number("a share above 0, at most 1", (sample) => sample > 0 && sample <= 1),
    when: FUNCTION,
    fields: list(FIELD, "an array of names of fields"),
    redact: orFalse(list(text("a name"), "false, or an array of names")),
  },
  'false, or an object such as { format: "json", to: { file: "access.log" } }',
  {
    check({ format, fields }, report) {
      if (fields === undefined || (format !== "combined" && typeof format !== "function")) return;
      report('must have no "fields" with this format, which says itself what stands in a line');
    },
  },
));

/** {@linkcode AccessLogOptions} with every default filled in. */
export interface ResolvedAccessLog {
  readonly format: "text" | "json" | "combined" | AccessFormat;
  readonly to: "stdout" | "stderr" | ResolvedAccessFile;
  readonly sample: number;
  readonly when: ((entry: AccessEntry) => boolean) | null;
  readonly fields: readonly string[] | null;
  /** Names of the logged request fields, in lower case. */
  readonly headers: readonly string[];
  /** `null` if nothing is redacted. */
  readonly secrets: ReadonlySet<string> | null;
}

/** A log file with every default filled in. */
export interface ResolvedAccessFile {
  readonly path: string;
  /** `Infinity` for no limit. */
  readonly maxBytes: number;
  readonly keep: number;
}

/** Fills in the defaults of validated options. */
export function resolveAccessLog(options: AccessLogOptions): ResolvedAccessLog {
  const { format = "text", to = "stdout", sample = 1, when = null, fields = null, redact = [] } = options;
  return Object.freeze({
    format,
    to: typeof to === "string" ? to : resolveFile(to),
    sample,
    when,
    fields: fields === null ? null : Object.freeze([...fields]),
    headers: Object.freeze((fields ?? []).flatMap((field) => headerOf(field) ?? [])),
    secrets: redact === false ? null : secretNames(redact),
  });
}

/** The field name in `header:NAME`; `null` for other fields. */
export function headerOf(field: string): string | null {
  return field.startsWith("header:") ? field.slice("header:".length).toLowerCase() : null;
}

function resolveFile({ file, maxSize, keep = 5 }: AccessLogFile): ResolvedAccessFile {
  return { path: file, maxBytes: maxSize === undefined ? Infinity : parseByteSize(maxSize)!, keep };
}

// Keeps secrets out of logs.

/** Query keys and fields whose values must not be logged; compared in lower case. */
const SECRET_NAMES: readonly string[] = [
  "access_token",
  "api_key",
  "apikey",
  "api-key",
  "auth",
  "authorization",
  "client_secret",
  "code",
  "cookie",
  "id_token",
  "jwt",
  "key",
  "passwd",
  "password",
  "proxy-authorization",
  "refresh_token",
  "secret",
  "session",
  "set-cookie",
  "sig",
  "signature",
  "token",
  "x-amz-credential",
  "x-amz-security-token",
  "x-amz-signature",
  "x-api-key",
  "x-auth-token",
];

/** Replaces a secret. */
export const REDACTED = "[redacted]";

/** Names of secrets: the well-known ones, and others. */
export function secretNames(others: readonly string[] = []): ReadonlySet<string> {
  return new Set([...SECRET_NAMES, ...others.map((name) => name.toLowerCase())]);
}

/**
 * The target, or a URL, with redacted values of secret query keys, and a redacted user and password before the host.
 */
export function redactTarget(target: string, secrets: ReadonlySet<string>): string {
  const query = target.indexOf("?");
  if (query < 0) return redactUser(target);
  let redacted = redactUser(target.slice(0, query + 1));
  for (let at = query + 1; at <= target.length;) {
    const next = target.indexOf("&", at);
    const end = next < 0 ? target.length : next;
    const equals = target.indexOf("=", at);
    redacted += equals >= 0 && equals < end && secrets.has(plainName(target.slice(at, equals)))
      ? `${target.slice(at, equals + 1)}${REDACTED}`
      : target.slice(at, end);
    if (next < 0) break;
    redacted += "&";
    at = next + 1;
  }
  return redacted;
}

function plainName(name: string): string {
  if (!name.includes("%") && !name.includes("+")) return name.toLowerCase();
  try {
    return decodeURIComponent(name.replaceAll("+", " ")).trim().toLowerCase();
  } catch {
    return name.toLowerCase();
  }
}

/** Only URLs have user information; targets begin with a slash. */
function redactUser(url: string): string {
  if (url.startsWith("/")) return url;
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, `$1${REDACTED}@`);
}

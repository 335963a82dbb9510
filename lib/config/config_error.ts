/** Errors of configurations and of loading their modules. */

/** One problem of a configuration. */
export interface ConfigProblem {
  /** Path in the configuration, such as `upstreams.servers[1]`; `""` for the whole configuration. */
  readonly path: string;
  /** The problem, to be read after the path: `must be "host:port", received "foo"`. */
  readonly message: string;
}

/** A problem as a sentence. */
export function formatProblem({ path, message }: ConfigProblem): string {
  return path === "" ? message : `${path} ${message}`;
}

/**
 * The configuration is invalid; lists all its problems.
 *
 * @example
 * ```ts
 * import { ConfigError, serve } from "@x/lbproxy";
 * import { assertEquals, assertRejects } from "@std/assert";
 *
 * const error = await assertRejects(() => serve({ upstreams: ["foo"] }), ConfigError);
 * assertEquals(error.message, 'Cannot load configuration: upstreams[0] must be "host:port", received "foo"');
 * assertEquals(error.problems[0]?.path, "upstreams[0]");
 * ```
 */
export class ConfigError extends Error {
  /** `"ConfigError"` */
  override readonly name = "ConfigError";
  /** All problems, in the order of the configuration. */
  readonly problems: readonly ConfigProblem[];

  /**
   * Makes the error from its problems.
   *
   * @param where name of the configuration for its author: the file name
   * @param problems at least one
   */
  constructor(where: string, problems: readonly ConfigProblem[], options?: ErrorOptions) {
    const lines = problems.map(formatProblem);
    const found = lines.length === 1 ? lines[0] : `${lines.length} problems\n  ${lines.join("\n  ")}`;
    super(`Cannot load ${where}: ${found}`, options);
    this.problems = Object.freeze([...problems]);
  }
}

/** An error thrown by a module, or reported by the runtime. */
interface Failure {
  readonly name: string;
  readonly text: string;
  readonly stack: string;
}

const LOCATIONS = /((?:file|https?|data|jsr|npm):[^\s()]*?):(\d+):(\d+)/g;
/** The runtime reports the system's error on a separate line. */
const UNREADABLE = /^Import '([^']*)' failed\.\n\s+0: (.+?)(?: \(os error \d+\))?(?=\n|$)/;
const LOCATED = /\s+at (?:file|https?|data|jsr|npm):\S+$/;

/**
 * Describes in one line, without a stack, why a module could not be loaded.
 *
 * @param error rejection of `import()`
 * @param url URL of the module; `undefined` if unknown
 */
export function explainLoadError(error: unknown, url: string | undefined): string {
  const { name, text, stack } = readFailure(error);
  const reason = firstLine(text);
  const missing = /^Module not found "(.*)"/.exec(reason)?.[1];
  if (missing === url && url !== undefined) {
    return `there is no such file${url.endsWith("/proxy.config.ts") ? "; lbproxy --init writes one" : ""}`;
  }
  if (missing !== undefined) return `it imports ${missing}, which does not exist${place(text, url)}`;
  const unreadable = UNREADABLE.exec(text);
  if (unreadable !== null) {
    const [, file, why] = unreadable;
    return file === url
      ? `it cannot be read: ${why}`
      : `it imports ${file}, which cannot be read: ${why}${place(text, url)}`;
  }
  if (reason.includes("ERR_UNSUPPORTED_DIR_IMPORT")) return "it is a directory";
  if (/^Requires .* access/.test(reason)) return `it r${reason.slice(1)}`;
  if (name === "SyntaxError" || reason.startsWith("SyntaxError: ")) {
    return `syntax error: ${reason.replace("SyntaxError: ", "").replace(LOCATED, "")}${place(text, url)}`;
  }
  if ((error as { code?: unknown })?.code === "ERR_MODULE_NOT_FOUND") return reason + place(text, url);
  return `it threw ${name === "Error" ? "an error" : name}: ${reason}${place(stack, url)}`;
}

function readFailure(error: unknown): Failure {
  if (!(error instanceof Error)) return { name: "no error but", text: String(error), stack: "" };
  return { name: error.name, text: withoutColours(error.message), stack: withoutColours(error.stack ?? "") };
}

/** On a terminal the runtime colours locations, which hides them from {@linkcode LOCATIONS}. */
function withoutColours(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll(/\x1b\[[0-9;]*m/g, "");
}

function firstLine(text: string): string {
  const end = text.indexOf("\n");
  return (end < 0 ? text : text.slice(0, end)).trim().replace(/\.$/, "");
}

/** Files of the program itself: its errors are attributed to the caller. */
const OWN_FILES = new URL("../", import.meta.url).href;

/** Location of the error: line and column in the module itself, or with the URL of another module. */
function place(text: string, url: string | undefined): string {
  const found = Array.from(text.matchAll(LOCATIONS));
  const match = found.find(([, file]) => !file!.startsWith(OWN_FILES)) ?? found[0];
  if (match === undefined) return "";
  const [, file, line, column] = match;
  return file === url ? ` (line ${line}, column ${column})` : ` (${file}:${line}:${column})`;
}

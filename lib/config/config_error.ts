/** What is said when a configuration cannot be used. */

/** One thing that is wrong with a configuration. */
export interface ConfigProblem {
  /** Where, such as `upstreams.servers[1]`; `""` for the configuration as a whole. */
  readonly path: string;
  /** What is wrong, to be read after the path: `must be "host:port", received "foo"`. */
  readonly message: string;
}

/** A problem as a sentence. */
function formatProblem({ path, message }: ConfigProblem): string {
  return path === "" ? message : `${path} ${message}`;
}

/**
 * A configuration cannot be used; lists everything that is wrong with it.
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
  /** Everything that is wrong, in the order of the configuration. */
  readonly problems: readonly ConfigProblem[];

  /**
   * Makes the error of its problems.
   *
   * @param where the configuration, as its author knows it: the name of its file
   * @param problems at least one
   */
  constructor(where: string, problems: readonly ConfigProblem[], options?: ErrorOptions) {
    const lines = problems.map(formatProblem);
    const found = lines.length === 1 ? lines[0] : `${lines.length} problems\n  ${lines.join("\n  ")}`;
    super(`Cannot load ${where}: ${found}`, options);
    this.problems = Object.freeze([...problems]);
  }
}

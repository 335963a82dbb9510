/** Finds everything that is wrong with a configuration. */

import * as v from "valibot";
import type { ConfigProblem } from "./config_error.ts";
import { configSchema } from "./schema/config_schema.ts";

/**
 * Lists everything that is wrong with a configuration; empty when nothing is.
 *
 * @param subject what the configuration as a whole is called
 */
export function findProblems(config: unknown, subject = "the configuration"): readonly ConfigProblem[] {
  const { issues = [] } = v.safeParse(configSchema, config);
  return issues.map(({ path, message }) =>
    path === undefined
      ? { path: "", message: `${subject} ${message}` }
      : { path: formatPath(path.map(({ key }) => key)), message }
  );
}

/** Writes a path the way it would stand in code: `upstreams.servers[1]`, `upstreams["a b"].tls`. */
function formatPath(keys: readonly unknown[]): string {
  let path = "";
  for (const key of keys) {
    if (typeof key === "number") path += `[${key}]`;
    else if (!/^[\p{ID_Start}$_][\p{ID_Continue}$-]*$/u.test(String(key))) path += `[${JSON.stringify(key)}]`;
    else path += path === "" ? String(key) : `.${key}`;
  }
  return path;
}

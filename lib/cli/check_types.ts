/** The types of a configuration, checked by the runtime. */

import { UsageError } from "./usage_error.ts";

/** Where this package is from. */
const ROOT = new URL("../../", import.meta.url);

/**
 * Checks the types of a configuration, as `deno check` does.
 *
 * From a clone it is done with the clone's own `deno.json`, which knows this package; otherwise with the `deno.json` of the
 * configuration.
 *
 * @param root of this package
 * @returns what is wrong, with places; `null` when nothing is
 * @throws {UsageError} when the runtime may not be started
 */
export async function findTypeErrors(source: string, root: URL = ROOT): Promise<string | null> {
  const config = root.protocol === "file:" ? [`--config=${new URL("deno.json", root).pathname}`] : [];
  const command = Deno.execPath();
  if (Deno.permissions.querySync({ name: "run", command }).state !== "granted") {
    throw new UsageError("--types starts deno check: run with --allow-run");
  }
  const { success, stderr } = await new Deno.Command(command, {
    args: ["check", "--quiet", ...config, source],
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (success) return null;
  return new TextDecoder().decode(stderr).replace(/\n+Stack backtrace:[^]*$/, "").replace(
    /\nerror: Type checking failed[^]*$/,
    "",
  ).trim();
}

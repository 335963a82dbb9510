/** The command that starts a worker: that of the program, with additional flags. */

import { ConfigError } from "../../config/config_error.ts";
import type { ResolvedConfig } from "../../config/proxy_config.ts";

/** The flag for `reusePort`, which workers need. */
const UNSTABLE = "--unstable-net";
/**
 * A quarter of V8's default is enough for what a proxy allocates between two garbage collections: it saves 8 to 17 MiB
 * per worker at the same CPU cost (measured with Deno 2.9.6).
 */
const YOUNG_GENERATION = "--v8-flags=--max-semi-space-size=4";
/** Flags that only one process can have. */
const SINGLE_PROCESS_FLAGS = /^--(inspect|watch|coverage|cpu-prof)/;

/** The permissions that can be passed on without their details. */
const PERMISSIONS = ["net", "read", "env", "write", "sys", "run", "ffi", "import"] as const;

/** The first argument of a worker. */
export const WORKER_FLAG = "--worker-process";

/** Workers cannot be started with the command of the program. */
export class WorkersError extends Error {
  /** Name of the class. */
  override readonly name = "WorkersError";
}

/**
 * Makes the command of a worker.
 *
 * @param main URL of the program's main module
 * @throws {WorkersError} when a permission is missing (the message shows a command that has it), or the system is not Linux
 */
export function workerCommand(main: string): () => Deno.Command {
  if (Deno.build.os !== "linux") {
    throw new WorkersError(
      "Workers need Linux, where the system spreads the connections of one address over processes: run with one",
    );
  }
  const missing = (["run", "ffi", "net", "read"] as const).filter((name) => !isGranted(name));
  if (missing.length > 0) {
    const args = Deno.args.map((arg) => /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg}'`);
    throw new WorkersError(
      `Workers need ${
        missing.map((name) => `--allow-${name}`).join(", ")
      }, to start processes that share memory. Run: ` +
        ["deno run -A", displayName(Deno.mainModule), ...args].join(" "),
    );
  }
  const args = [...runFlags(main), WORKER_FLAG];
  return () => new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped", stderr: "piped" });
}

function isGranted(name: typeof PERMISSIONS[number]): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

/** `run`, its flags, and the module. */
function runFlags(main: string): readonly string[] {
  if (Deno.build.standalone) return [];
  const line = commandLine();
  const isProgram = line !== null && line[1] === "run";
  const end = isProgram ? line.length - Deno.args.length - 1 : 0;
  const flags = isProgram
    ? line.slice(2, end).filter((flag) => !SINGLE_PROCESS_FLAGS.test(flag))
    : allowFlags();
  // Written as in this process's command, so that the runtime finds the same `deno.json`.
  const module = isProgram && Deno.mainModule === main ? line[end]! : main;
  const added = [
    ...(flags.includes(UNSTABLE) ? [] : [UNSTABLE]),
    ...(flags.some((flag) => flag.startsWith("--v8-flags")) ? [] : [YOUNG_GENERATION]),
  ];
  return ["run", ...flags, ...added, "--no-prompt", module];
}

/** The command line of this process; `null` if it cannot be read. */
function commandLine(): readonly string[] | null {
  try {
    return Deno.readTextFileSync("/proc/self/cmdline").split("\0").slice(0, -1);
  } catch {
    return null;
  }
}

function allowFlags(): readonly string[] {
  const granted = PERMISSIONS.filter(isGranted);
  return granted.length === PERMISSIONS.length ? ["-A"] : granted.map((name) => `--allow-${name}`);
}

function displayName(module: string): string {
  return module.startsWith("file://") ? decodeURIComponent(new URL(module).pathname) : module;
}

/**
 * Checks that a configuration that a program passes has only one worker.
 *
 * @throws {ConfigError} when it has more
 */
export function alone(config: ResolvedConfig): ResolvedConfig {
  if (config.workers === 1) return config;
  const message = "must be 1 here: workers load a configuration from its module, so run the program, as in " +
    `lbproxy proxy.config.ts --workers ${config.workers}`;
  throw new ConfigError("configuration", [{ path: "workers", message }]);
}

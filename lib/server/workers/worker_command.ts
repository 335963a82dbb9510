/** How a worker is started: as the program was, with what it needs in addition. */

import { ConfigError } from "../../config/config_error.ts";
import type { ResolvedConfig } from "../../config/proxy_config.ts";

/** What workers need that is no permission. */
const UNSTABLE = "--unstable-net";
/**
 * A quarter of the runtime's own choice is enough for what a proxy allocates between two collections: 8 to 17 MiB
 * less a worker, at the same cost (measured with Deno 2.9.6).
 */
const YOUNG_OBJECTS = "--v8-flags=--max-semi-space-size=4";
/** Flags that two processes cannot both have. */
const ONCE = /^--(inspect|watch|coverage|cpu-prof)/;

/** The permissions that can be passed on as a whole. */
const PERMISSIONS = ["net", "read", "env", "write", "sys", "run", "ffi", "import"] as const;

/** The first argument of a worker. */
export const WORKER_FLAG = "--worker-process";

/** Workers cannot be started as the program was. */
export class WorkersError extends Error {
  /** Name of the class. */
  override readonly name = "WorkersError";
}

/**
 * Makes the command of a worker.
 *
 * @param main the module that is the program
 * @throws {WorkersError} when a permission is missing, with the command that has it; or on another system than Linux
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
        ["deno run -A", shown(Deno.mainModule), ...args].join(" "),
    );
  }
  const args = [...runFlags(main), WORKER_FLAG];
  return () => new Deno.Command(Deno.execPath(), { args, stdin: "piped", stdout: "piped", stderr: "piped" });
}

function isGranted(name: typeof PERMISSIONS[number]): boolean {
  return Deno.permissions.querySync({ name }).state === "granted";
}

/** `run`, its flags and the module. */
function runFlags(main: string): readonly string[] {
  if (Deno.build.standalone) return [];
  const line = commandLine();
  const isProgram = line !== null && line[1] === "run";
  const end = isProgram ? line.length - Deno.args.length - 1 : 0;
  const flags = isProgram ? line.slice(2, end).filter((flag) => !ONCE.test(flag)) : allowFlags();
  // By the same words, by which the runtime finds the same configuration file.
  const module = isProgram && Deno.mainModule === main ? line[end]! : main;
  const added = [
    ...(flags.includes(UNSTABLE) ? [] : [UNSTABLE]),
    ...(flags.some((flag) => flag.startsWith("--v8-flags")) ? [] : [YOUNG_OBJECTS]),
  ];
  return ["run", ...flags, ...added, "--no-prompt", module];
}

/** How this process was started; `null` when it may not know. */
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

function shown(module: string): string {
  return module.startsWith("file://") ? decodeURIComponent(new URL(module).pathname) : module;
}

/**
 * Checks that a configuration that a program passes has no workers.
 *
 * @throws {ConfigError} when it does
 */
export function alone(config: ResolvedConfig): ResolvedConfig {
  if (config.workers === 1) return config;
  const message = "must be 1 here: workers load a configuration from its module, so run the program, as in " +
    `lbproxy proxy.config.ts --workers ${config.workers}`;
  throw new ConfigError("configuration", [{ path: "workers", message }]);
}

/** The main function of the program. */

import { ConfigError, formatProblem } from "../config/config_error.ts";
import { describeConfig } from "../config/describe_config.ts";
import { loadConfig } from "../config/load_config.ts";
import { allPolicies } from "../config/resolve_config.ts";
import { messageOf } from "../core/callback.ts";
import { systemClock } from "../core/clock.ts";
import { seededRandom } from "../core/random.ts";
import { VERSION } from "../core/version.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";
import { unreadMessage } from "../observe/event_message.ts";
import { escapeControls } from "../observe/text_format.ts";
import { describeCertificates } from "../server/certificates.ts";
import { WorkersError } from "../server/workers/worker_command.ts";
import {
  generateTraffic,
  readTrace,
  type SimulatedRequest,
  TraceError,
} from "../simulator/simulated_request.ts";
import { replay, reportSimulation } from "../simulator/simulate.ts";
import { COMMAND_HELP, HELP_TEXT } from "./help_text.ts";
import { writeStarter } from "./init.ts";
import { type Io, print, UsageError } from "./io.ts";
import { parseArguments, type RunOptions, type SimulateCommand } from "./parse_arguments.ts";
import { describePermissions, findFileProblems, ProgramConfig } from "./program_config.ts";
import { runCtl, runTop } from "./run_admin.ts";
import { runUntilStopped } from "./run_until_stopped.ts";

/** Exit codes, as documented by `--help`. */
const SUCCESS = 0;
const FAILURE = 1;
const MISUSE = 2;

/**
 * Runs the program and returns its exit code; every failure is one line on `stderr`.
 *
 * @param args the command line without the name of the program
 */
export async function main(args: readonly string[], io: Io): Promise<number> {
  try {
    const command = parseArguments(args);
    switch (command.kind) {
      case "help":
        print(io.stdout, command.of === undefined ? HELP_TEXT : COMMAND_HELP[command.of]);
        return SUCCESS;
      case "version":
        print(io.stdout, `lbproxy ${VERSION}\n`);
        return SUCCESS;
      case "init":
        print(io.stdout, await writeStarter(command.folder));
        return SUCCESS;
      case "simulate":
        print(io.stdout, await runSimulation(command.command));
        return SUCCESS;
      case "ctl":
        print(io.stdout, await runCtl(command.command, io));
        return SUCCESS;
      case "top":
        await runTop(command.command, io);
        return SUCCESS;
      case "run":
        return await run(command.options, io);
    }
  } catch (error) {
    print(io.stderr, `${messageOf(error)}\n`);
    return error instanceof UsageError || error instanceof ConfigError || error instanceof TraceError ||
        error instanceof WorkersError
      ? MISUSE
      : FAILURE;
  }
}

async function run(options: RunOptions, io: Io): Promise<number> {
  const { source, check } = options;
  using program = new ProgramConfig(options);
  // Without listeners these signals would end the process. What SIGHUP asks for before the start is to load again.
  let hungUp = false;
  using _hangUp = io.onSignal("SIGHUP", () => hungUp = true);
  using _reopen = io.onSignal("SIGUSR2", () => {});
  let loaded = await program.load();
  for (; hungUp && !check; loaded = await program.load()) hungUp = false;
  const { config, unread, doubts, sources } = loaded;
  if (!check) {
    return await runUntilStopped(program, { config, unread, doubts, sources }, options, io);
  }
  const problems = findFileProblems(config);
  if (problems.length > 0) throw new ConfigError(source, problems);
  const wrongTypes = options.types ? await findTypeErrors(source) : null;
  if (wrongTypes !== null) {
    print(io.stderr, `The types of ${source} are wrong:\n${wrongTypes}\n`);
    return MISUSE;
  }
  const warnings = doubts.map((doubt) => `  ${formatProblem(doubt)}\n`).join("");
  const count = `${doubts.length} ${doubts.length === 1 ? "warning" : "warnings"}`;
  const found = warnings === ""
    ? `No problems in ${source}`
    : `No errors in ${source}, but ${count}:\n${warnings.trimEnd()}`;
  const notices = unread.map((name) => `${unreadMessage(name)}\n`).join("");
  const certificates = describeCertificates(config, systemClock.wallTime());
  const known = certificates.length === 0 ? "" : `\n${certificates.join("\n")}\n`;
  const described = [describeConfig(config), ...describePermissions(config)].join("\n");
  print(io.stdout, `${found}\n${notices}\n${described}\n${known}`);
  return SUCCESS;
}

// Checks the types of a configuration with the runtime.

/** URL of this package. */
const ROOT = new URL("../..", import.meta.url);

/**
 * Checks the types of a configuration, as `deno check` does.
 *
 * If this code is a clone of the repository, uses the clone's `deno.json`, which resolves this package; otherwise the
 * `deno.json` of the configuration.
 *
 * @param root URL of this package
 * @returns the errors with their positions; `null` if there are none
 * @throws {UsageError} when the permission to run the runtime is missing
 */
async function findTypeErrors(source: string, root: URL = ROOT): Promise<string | null> {
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

// The command `lbproxy simulate`.

/**
 * Replays a trace or generated traffic, and returns the text to print.
 *
 * @throws {ConfigError} when the configuration cannot be used
 * @throws {TraceError} when the trace cannot be read
 */
async function runSimulation(command: SimulateCommand): Promise<string> {
  const { config } = await loadConfig(command.source);
  const policies = allPolicies(config);
  const result = replay(config, await requestsOf(command, policies));
  return command.json
    ? `${escapeControls(JSON.stringify(result))}\n`
    : reportSimulation(result, policies, command.top);
}

async function requestsOf(
  { trace, traffic, seed }: SimulateCommand,
  policies: readonly ResolvedPolicy[],
): Promise<Iterable<SimulatedRequest>> {
  if (traffic !== null) return generateTraffic({ ...traffic, random: seededRandom(seed) }, policies);
  return readTrace(await readText(trace!), trace!);
}

async function readText(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound ? "there is no such file" : String(cause);
    throw new TraceError(`Cannot replay ${path}: ${reason}`, { cause });
  }
}

/** The program. */

import { findTokenProblems } from "../admin/tokens.ts";
import type { AdminPlace, ResolvedAdmin } from "../config/admin_options.ts";
import { ConfigError } from "../config/config_error.ts";
import { messageOf } from "../core/callback.ts";
import { VERSION } from "../core/version.ts";
import { describeConfig } from "../config/describe_config.ts";
import { loadConfig } from "../config/load_config.ts";
import { formatListen } from "../config/format_listen.ts";
import type { EngineName, ResolvedListen } from "../config/proxy_config.ts";
import { isPrivatePlace, resolveAdmin } from "../config/resolve_admin.ts";
import { withEngine } from "../config/resolve_listen.ts";
import { unreadMessage } from "../observe/event_message.ts";
import type { ByteSink } from "../observe/line_writer.ts";
import { findCertificateProblems } from "../server/check_certificates.ts";
import { HELP_TEXT } from "./help_text.ts";
import { TraceError } from "../simulator/read_trace.ts";
import type { Io } from "./io.ts";
import { parseArguments, type RunOptions } from "./parse_arguments.ts";
import { runSimulation } from "./run_simulation.ts";
import { runUntilStopped } from "./run_until_stopped.ts";
import { UsageError } from "./usage_error.ts";

/** Exit codes, as `--help` tells them. */
const SUCCESS = 0;
const FAILURE = 1;
const MISUSE = 2;

/**
 * Runs the program and returns its exit code; every failure is one line on `stderr`.
 *
 * @param args the command line without the program's own name
 */
export async function main(args: readonly string[], io: Io): Promise<number> {
  try {
    const command = parseArguments(args);
    switch (command.kind) {
      case "help":
        print(io.stdout, HELP_TEXT);
        return SUCCESS;
      case "version":
        print(io.stdout, `lbproxy ${VERSION}\n`);
        return SUCCESS;
      case "simulate":
        print(io.stdout, await runSimulation(command.command));
        return SUCCESS;
      case "run":
        return await run(command.options, io);
    }
  } catch (error) {
    print(io.stderr, `${messageOf(error)}\n`);
    return error instanceof UsageError || error instanceof ConfigError || error instanceof TraceError
      ? MISUSE
      : FAILURE;
  }
}

async function run(options: RunOptions, io: Io): Promise<number> {
  const { source, check, listen, engine, admin } = options;
  const { config: loaded, unread } = await loadConfig(source);
  const places = listen.length === 0 ? loaded.listen : listenInstead(listen, loaded.listen);
  const config = {
    ...loaded,
    listen: engine === null ? places : places.map((place) => by(engine, place)),
    admin: admin === null ? loaded.admin : adminAt(admin, loaded.admin),
  };
  if (!check) {
    await runUntilStopped(config, { ...options, unread }, io);
    return SUCCESS;
  }
  const problems = [...findCertificateProblems(config), ...findTokenProblems(config.admin)];
  if (problems.length > 0) throw new ConfigError(source, problems);
  const notices = unread.map((name) => `${unreadMessage(name)}\n`).join("");
  print(io.stdout, `No problems in ${source}\n${notices}\n${describeConfig(config)}\n`);
  return SUCCESS;
}

/**
 * The places of the command line, which treat fields and clients as those of the configuration do where these agree: a key by
 * a field that is dropped would otherwise find none.
 */
function listenInstead(
  places: readonly ResolvedListen[],
  configured: readonly ResolvedListen[],
): readonly ResolvedListen[] {
  const [first, ...others] = configured.filter(({ redirectPort }) => redirectPort === undefined);
  if (first === undefined) return places;
  const { underscores, limits, proxyProtocol, engine, tls } = first;
  const fields = others.some((each) => each.underscores !== underscores) || underscores === undefined
    ? {}
    : { underscores };
  const clients = others.length > 0 || tls !== undefined
    ? {}
    : { limits, engine, ...(proxyProtocol === undefined ? {} : { proxyProtocol }) };
  return places.map((place) => ({ ...place, ...fields, ...clients }));
}

/** @throws {UsageError} when others than this machine reach the place, and nobody has a token */
function adminAt(listen: AdminPlace, configured: ResolvedAdmin | null): ResolvedAdmin {
  const admin = configured ?? resolveAdmin(true)!;
  if (isPrivatePlace(listen)) return { ...admin, listen };
  if (admin.tokens.size > 0) return { ...admin, listen, read: "token" };
  throw new UsageError(
    `--admin must not be ${formatListen(listen)} without admin.tokens: others than this machine can reach it`,
  );
}

/** @throws {UsageError} when the engine cannot do what the place is configured to */
function by(engine: EngineName, place: ResolvedListen): ResolvedListen {
  const made = withEngine(place, engine);
  if (typeof made !== "string") return made;
  throw new UsageError(`--engine must not be "${engine}" at ${formatListen(place)}: ${made}`);
}

function print(sink: ByteSink, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(sink.writeSync(bytes));
}

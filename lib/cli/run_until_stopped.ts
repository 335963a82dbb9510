/** A proxy from its start to its end, as a program. */

import { ConfigError } from "../config/config_error.ts";
import type { ResolvedConfig } from "../config/proxy_config.ts";
import { messageOf, stackOf } from "../core/callback.ts";
import { systemClock as clock } from "../core/clock.ts";
import { systemRandom as random } from "../core/random.ts";
import { createLog, type Log } from "../observe/create_log.ts";
import { startProxy } from "../server/serve.ts";
import { findWorkerProblems } from "../server/workers/find_worker_problems.ts";
import { workerCommand } from "../server/workers/worker_command.ts";
import { DemoLoad } from "./demo_load.ts";
import { FileWatch } from "./file_watch.ts";
import { type Io, print, type StopSignal } from "./io.ts";
import type { RunOptions } from "./parse_arguments.ts";
import { Supervisor } from "./supervisor.ts";
import type { ProgramConfig } from "./program_config.ts";

/** By convention of shells: 128 and the number of the signal. */
const SIGNAL_EXIT_CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143, SIGBREAK: 149 };

/** How long the last lines of the log may take when nobody reads them. */
const LAST_LINES_MS = 1000;

/**
 * Starts the proxy and resolves when it has stopped.
 *
 * The first signal to stop stops it once the running requests have finished, the second one at once. SIGHUP reads the
 * configuration again, SIGUSR2 opens log files again.
 *
 * @returns the exit code: 0, or 1 when requests were cut
 * @throws {ListenError} when an address cannot be listened at
 */
export async function runUntilStopped(
  program: ProgramConfig,
  { config, unread, sources: { hash } }: Awaited<ReturnType<ProgramConfig["load"]>>,
  options: RunOptions,
  io: Io,
): Promise<number> {
  const { logLevel: level, logFormat: format, watch, demoLoad } = options;
  using log = createLog({
    level,
    format,
    // The proxy writes it, where the configuration has no other.
    access: false,
    clock,
    stdout: io.stdout,
    stderr: io.stderr,
  });
  const { observer, accessLog } = log;
  using _strayErrors = io.onStrayError((error) => reportStrayError(log, error));
  for (const name of unread) observer.event({ kind: "unread_export", name });
  const alone = config.workers === 1;
  const load = async () => {
    const { config, unread, sources: { hash, remote } } = await program.load();
    checkWorkers(config, alone, options.source);
    for (const name of unread) observer.event({ kind: "unread_export", name });
    return { config, hash, notReloaded: remote };
  };
  using supervisor = findSupervisor(log);
  const workers = config.workers === 1 ? null : {
    command: workerCommand(import.meta.resolve("../../mod.ts")),
    options,
    accessLines: accessLog === null ? undefined : (text: string) => log.accessLines(text),
    strayLine: (line: string) => print(io.stderr, `${line}\n`),
  };
  const starting = startProxy(config, {
    observer,
    accessLog,
    clock,
    random,
    source: { name: program.source, hash, load },
    logControl: log,
    workers,
  });
  let stopping = false;
  using _signals = io.onStopSignal((signal) => {
    if (stopping) {
      log[Symbol.dispose]();
      return io.exit(SIGNAL_EXIT_CODES[signal]);
    }
    stopping = true;
    supervisor?.stopping();
    // Also when it comes before the first round of checks is over; why a start failed is told below.
    starting.then((server) => server.shutdown(signal)).catch(() => {});
  });
  const reload = async (trigger: string): Promise<void> => {
    const server = await starting;
    const { applied, generation } = await server.reload(undefined, trigger);
    supervisor?.status(`configuration ${generation}${applied ? "" : ", the last one could not be loaded"}`);
  };
  using _hangUp = io.onSignal("SIGHUP", () => void reload("SIGHUP").catch(() => {}));
  using _reopen = io.onSignal(
    "SIGUSR2",
    () => void starting.then((server) => server.reopenLog()).catch(() => {}),
  );
  const server = await starting;
  supervisor?.ready();
  using _load = !demoLoad ? null : new DemoLoad(server.addresses[0]!, clock, random);
  using _watch = !watch ? null : new FileWatch({
    files: program.files,
    clock,
    onChange: () => reload("its files have changed"),
    onError: (error) => reportStrayError(log, error, "--watch"),
  });
  await server.finished;
  const cut = await server.shutdown();
  await flushWithin(log, LAST_LINES_MS);
  return cut === 0 ? 0 : 1;
}

/** @throws {ConfigError} when a configuration that is loaded again cannot be served as the one before was */
function checkWorkers(config: ResolvedConfig, alone: boolean, source: string): void {
  const problems = alone && config.workers > 1
    ? [{ path: "workers", message: "cannot become more than 1 while the program runs: start it anew" }]
    : findWorkerProblems(config);
  if (problems.length > 0) throw new ConfigError(source, problems);
}

/** Goes on without one: whoever waits for a word will say so. */
function findSupervisor(log: Log): Supervisor | null {
  try {
    return Supervisor.find();
  } catch (error) {
    reportStrayError(log, error, "sd_notify");
    return null;
  }
}

function reportStrayError(
  log: Log,
  error: unknown,
  name = "A promise or timer of the configuration",
): void {
  log.observer.event({
    kind: "callback_error",
    name,
    message: messageOf(error),
    stack: stackOf(error),
  });
}

async function flushWithin(log: Log, limitMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const id = setTimeout(resolve, limitMs);
  await Promise.race([log.flush(), promise]);
  clearTimeout(id);
}

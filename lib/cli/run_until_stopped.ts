/** A proxy from its start to its end, as a program. */

import type { ResolvedConfig } from "../config/proxy_config.ts";
import { messageOf, stackOf } from "../core/callback.ts";
import { systemClock as clock } from "../core/clock.ts";
import { systemRandom as random } from "../core/random.ts";
import { createLog, type Log } from "../observe/create_log.ts";
import { startProxy } from "../server/serve.ts";
import type { Io, StopSignal } from "./io.ts";
import type { RunOptions } from "./parse_arguments.ts";

/** By convention of shells: 128 and the number of the signal. */
const SIGNAL_EXIT_CODES: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143, SIGBREAK: 149 };

/** How long the last lines of the log may take when nobody reads them. */
const LAST_LINES_MS = 1000;

/** What the program is run with. */
interface RunUntilStoppedOptions extends Pick<RunOptions, "logLevel" | "logFormat"> {
  /** Exports of the configuration that nothing reads. */
  readonly unread: readonly string[];
}

/**
 * Starts the proxy and resolves when it has stopped.
 *
 * The first signal stops it once the running requests have finished, the second one at once.
 *
 * @throws {ListenError} when an address cannot be listened at
 */
export async function runUntilStopped(
  config: ResolvedConfig,
  { logLevel: level, logFormat: format, unread }: RunUntilStoppedOptions,
  io: Io,
): Promise<void> {
  using log = createLog({ level, format, clock, stdout: io.stdout, stderr: io.stderr });
  using _strayErrors = io.onStrayError((error) => reportStrayError(log, error));
  for (const name of unread) log.observer.event({ kind: "unread_export", name });
  const starting = startProxy(config, { observer: log.observer, clock, random });
  let stopping = false;
  using _signals = io.onStopSignal((signal) => {
    if (stopping) {
      log[Symbol.dispose]();
      return io.exit(SIGNAL_EXIT_CODES[signal]);
    }
    stopping = true;
    // Also when it comes before the first round of checks is over; why a start failed is told below.
    starting.then((server) => server.shutdown(signal)).catch(() => {});
  });
  const server = await starting;
  await server.finished;
  await flushWithin(log, LAST_LINES_MS);
}

function reportStrayError(log: Log, error: unknown): void {
  log.observer.event({
    kind: "callback_error",
    name: "A promise or timer of the configuration",
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

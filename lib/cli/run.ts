/** Runs the program in this process. */

import { WORKER_FLAG } from "../server/workers/worker_command.ts";
import { processIo } from "./io.ts";
import { main } from "./main.ts";
import { runWorker } from "./run_worker.ts";

/** Runs the program and ends the process with its exit code. */
export async function run(args: readonly string[]): Promise<void> {
  dropLegacyAbortNotice(console);
  if (args[0] === WORKER_FLAG) Deno.exit(await runWorker(Deno.stdin.readable, processIo));
  Deno.exit(await main(args, processIo));
}

// Suppresses a notice of the runtime that does not help operators.

const NOTICE = "Deno.serve: request.signal aborts on successful responses (legacy behavior).";

/**
 * Drops the notice that Deno 2.9 prints once, by `console.warn`, when a request whose `signal` was used has got a
 * response: the proxy uses the signal to detect that a client disconnects, and allows for its abort at the end.
 *
 * For the program only: in a library the notice may be about other code.
 */
export function dropLegacyAbortNotice(target: Pick<Console, "warn">): void {
  const warn = target.warn;
  target.warn = (...data: unknown[]) => {
    if (typeof data[0] === "string" && data[0].startsWith(NOTICE)) return;
    warn.apply(target, data);
  };
}

/** The program in its process. */

import { processIo } from "./io.ts";
import { dropLegacyAbortNotice } from "./legacy_abort_notice.ts";
import { WORKER_FLAG } from "../server/workers/worker_command.ts";
import { main } from "./main.ts";
import { runWorker } from "./run_worker.ts";

/** Runs the program and ends the process with its exit code. */
export async function run(args: readonly string[]): Promise<void> {
  dropLegacyAbortNotice(console);
  if (args[0] === WORKER_FLAG) Deno.exit(await runWorker(Deno.stdin.readable, processIo));
  Deno.exit(await main(args, processIo));
}

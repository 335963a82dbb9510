/** The program in its process. */

import { processIo } from "./io.ts";
import { dropLegacyAbortNotice } from "./legacy_abort_notice.ts";
import { main } from "./main.ts";

/** Runs the program and ends the process with its exit code. */
export async function run(args: readonly string[]): Promise<void> {
  dropLegacyAbortNotice(console);
  Deno.exit(await main(args, processIo));
}

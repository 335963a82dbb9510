/** What is said of a command line that cannot be understood. */

import { nearestName } from "../config/nearest_name.ts";

/** The command line cannot be understood. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Lets names of files through; everything else that is not known is a mistake. */
export function refuseOption(known: readonly string[]): (argument: string, key?: string) => boolean {
  return (argument, key) => {
    if (key === undefined) return true;
    const name = argument.split("=", 1)[0]!;
    const nearest = nearestName(key, known);
    const hint = nearest === undefined ? "see --help" : `did you mean --${nearest}?`;
    throw new UsageError(`Unknown option ${name}, ${hint}`);
  };
}

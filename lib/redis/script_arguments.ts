/** What the scripts are given; their texts say what each expects. */

import type { Charge } from "../limiter/charge.ts";
import type { CountedKey } from "../limiter/counted_key.ts";
import type { Rule } from "../limiter/algorithm.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";

/**
 * Keys and arguments of the script that decides.
 *
 * @param keys of the charges, and of the instances when one of them is about permits
 * @param session of the instance; 0 when none of them is
 */
export function decideCommand(
  charges: readonly Charge[],
  count: number,
  keys: readonly string[],
  times = 1,
  session = 0,
): string[] {
  const command = [...keys, String(times), String(session)];
  for (let i = 0; i < count; i++) {
    const { policy, rule, cost } = charges[i]!;
    command.push(
      policy.algorithm[0]!,
      String(rule.limit),
      String(rule.windowUs),
      String(rule.burst),
      String(cost),
      flagsOf(policy, rule),
    );
  }
  return command;
}

/** One text for each number, so that none has to be made for a request. */
const FLAGS = ["0", "1", "2", "3", "4", "5", "6", "7"] as const;

function flagsOf({ penalize, dryRun }: ResolvedPolicy, { bounded }: Rule): string {
  return FLAGS[(penalize ? 1 : 0) | (dryRun ? 2 : 0) | (bounded ? 4 : 0)]!;
}

/** Arguments of the script that counts more, or takes something back, behind its number. */
export function correctCommand(counted: CountedKey, delta: number): string[] {
  const { policy, limit, windowUs, burst, expiresAt, countedAt } = counted;
  return [policy.algorithm[0]!, ...[limit, windowUs, burst, delta, expiresAt, countedAt].map(String)];
}

/** Arguments of the script that forgets a key, behind its number. */
export function forgetCommand(): string[] {
  return ["x", "0", "0", "0", "0", "0", "0"];
}

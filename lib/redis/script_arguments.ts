/** What the scripts are given; their texts say what each expects. */

import type { Charge } from "../limiter/charge.ts";
import type { CountedKey } from "../limiter/counted_key.ts";
import type { Rule } from "../limiter/algorithm.ts";
import type { ResolvedPolicy } from "../limiter/policy.ts";

/** Keys and arguments of the script that decides. */
export function decideCommand(
  charges: readonly Charge[],
  count: number,
  keys: readonly string[],
  times = 1,
): string[] {
  const command = [...keys, String(times), "1"];
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

/** By the bits of {@linkcode flagsOf}. */
const FLAGS = ["-", "p", "d", "pd", "b", "pb", "db", "pdb"] as const;

function flagsOf({ penalize, dryRun }: ResolvedPolicy, { bounded }: Rule): string {
  return FLAGS[(penalize ? 1 : 0) | (dryRun ? 2 : 0) | (bounded ? 4 : 0)]!;
}

/** Keys and arguments of the script that gives places back. */
export function releaseCommand(
  held: readonly Pick<CountedKey, "cost" | "windowUs" | "expiresAt">[],
  keys: readonly string[],
): string[] {
  const command = [...keys];
  for (const { cost, windowUs, expiresAt } of held) {
    command.push(String(cost), String(windowUs), String(expiresAt));
  }
  return command;
}

/** Key and arguments of the script that counts more, or takes something back. */
export function correctCommand(counted: CountedKey, key: string, delta: number): string[] {
  const { policy, limit, windowUs, burst, expiresAt, countedAt } = counted;
  return [key, policy.algorithm[0]!, ...[limit, windowUs, burst, delta, expiresAt, countedAt].map(String)];
}

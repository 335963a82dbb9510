/** What the scripts are given; their texts say what each expects. */

import type { Charge } from "../limiter/charge.ts";
import type { CountedKey } from "../limiter/counted_key.ts";

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
    const flags = policy.penalize ? policy.dryRun ? "pd" : "p" : policy.dryRun ? "d" : "-";
    command.push(
      policy.algorithm[0]!,
      String(rule.limit),
      String(rule.windowUs),
      String(rule.burst),
      String(cost),
      flags,
    );
  }
  return command;
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

/** Makes the target that a server gets. */

import { unexpected } from "../core/callback.ts";
import { FilterError } from "../core/errors.ts";
import { asciiTarget } from "../http/request_target.ts";
import { isOriginForm } from "../routing/rewrite.ts";
import type { Exchange } from "./exchange.ts";

/**
 * The client's target, its normal form where the server is to get that, or what the `rewrite` of the route makes of it.
 *
 * A rewrite is given the path that the route was found by, or it would do something else than the route says.
 *
 * @throws {FilterError} when that throws, or makes what cannot stand in a request line
 */
export function rewriteTarget(exchange: Exchange): string {
  const { matched, target, normalized } = exchange;
  if (matched === null || matched.rewrite === null) return normalized ? exchange.normalTarget : target;
  const { normalTarget } = exchange;
  let made: unknown;
  try {
    made = matched.rewrite(normalTarget, exchange);
  } catch (error) {
    throw new FilterError("rewrite", error);
  }
  if (made === normalTarget) return normalized ? normalTarget : target;
  if (typeof made === "string") made = asciiTarget(made);
  if (isOriginForm(made)) return made;
  throw new FilterError("rewrite", unexpected("a path that begins with a slash", made));
}

/** What goes out for a target that filters have seen: one that nobody has changed, as its bytes came. */
export function targetToSend({ target, receivedTarget, normalized }: Exchange, seen: string): string {
  return seen === target && !normalized ? receivedTarget : seen;
}

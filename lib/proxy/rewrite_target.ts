/** Makes the target that a server gets. */

import { FilterError } from "../core/errors.ts";
import { asciiTarget } from "../http/request_target.ts";
import { isOriginForm } from "../routing/rewrite.ts";
import type { Exchange } from "./exchange.ts";

/**
 * The client's target, or what the `rewrite` of the route makes of it.
 *
 * @throws {FilterError} when that throws, or makes what cannot stand in a request line
 */
export function rewriteTarget(exchange: Exchange): string {
  const { matched, target } = exchange;
  if (matched === null || matched.rewrite === null) return target;
  let made: unknown;
  try {
    made = matched.rewrite(target, exchange);
  } catch (error) {
    throw new FilterError("rewrite", error);
  }
  if (typeof made === "string") made = asciiTarget(made);
  if (isOriginForm(made)) return made;
  throw new FilterError(
    "rewrite",
    new TypeError(`it must make a path that begins with a slash, made ${JSON.stringify(made)}`),
  );
}

/** What goes out for a target that filters have seen: one that nobody has changed, as its bytes came. */
export function targetToSend({ target, receivedTarget }: Exchange, seen: string): string {
  return seen === target ? receivedTarget : seen;
}

/** Problem documents of refusals, made once where they are always the same. */

import type { LimitedDecision } from "./policy.ts";
import { refusalBody } from "./refusal.ts";

/**
 * Keeps the documents of refusals by one policy's limit, which say nothing but its name.
 *
 * Making one costs a fifth of what a refused request costs altogether; whoever is refused may come very often.
 */
export class RefusalBodies {
  readonly #byPolicy = new Map<string, Uint8Array<ArrayBuffer>>();

  /** The same as {@linkcode refusalBody}; not to be written to. */
  get(decision: LimitedDecision): Uint8Array<ArrayBuffer> {
    const { reason, violated } = decision;
    if (reason !== "limit" || violated.length !== 1) return refusalBody(decision);
    const name = violated[0]!;
    let body = this.#byPolicy.get(name);
    if (body === undefined) {
      body = refusalBody(decision);
      this.#byPolicy.set(name, body);
    }
    return body;
  }
}

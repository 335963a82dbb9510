/** Heads that nobody looks at, kept for those who come after. */

import { ReceivedHead } from "./received_head.ts";

const MAX_KEPT = 256;

/** Lends heads; one serves all connections of a listener or a transport. */
export class HeadShelf {
  readonly #heads: ReceivedHead[] = [];

  take(): ReceivedHead {
    return this.#heads.pop() ?? new ReceivedHead();
  }

  give(head: ReceivedHead): void {
    if (this.#heads.length < MAX_KEPT) this.#heads.push(head);
  }
}

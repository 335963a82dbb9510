/** Which of several servers is spoken to. */

/** A server, by its address. */
export interface RedisNode {
  readonly hostname: string;
  readonly port: number;
}

/** How often a cluster may send one on before it is taken for one that does not work. */
const MAX_MOVES = 5;

/**
 * The servers of a store, of which one is spoken to at a time.
 *
 * All keys of a store are in one slot of a cluster, and so on one server: whichever of them is asked first tells which
 * one that is (`MOVED`). A server that does not work is followed by the next one that was configured.
 */
export class RedisNodes {
  readonly #configured: readonly RedisNode[];
  #index = 0;
  #moved: RedisNode | null = null;
  #moves = 0;

  /** @param configured at least one */
  constructor(configured: readonly RedisNode[]) {
    this.#configured = configured;
  }

  /** How many were configured. */
  get count(): number {
    return this.#configured.length;
  }

  /** The one to speak to. */
  get current(): RedisNode {
    return this.#moved ?? this.#configured[this.#index]!;
  }

  /** Takes the server that an error names, `MOVED 8034 10.0.0.7:6379`; `false` when it names none of use. */
  follow(message: string): boolean {
    const match = /^MOVED \d+ (.*):(\d{1,5})(?: |$)/.exec(message);
    if (match === null || this.#moves === MAX_MOVES) return false;
    const { current } = this;
    // A server that does not know how it is reached leaves its name out: it is that of the one that was asked.
    const hostname = match[1] === "" ? current.hostname : match[1]!;
    const port = Number(match[2]);
    if (hostname === "?" || port === 0 || port > 65535) return false;
    if (hostname === current.hostname && port === current.port) return false;
    this.#moved = { hostname, port };
    this.#moves++;
    return true;
  }

  /** Takes another one, after the current one has failed. */
  next(): void {
    this.#moves = 0;
    if (this.#moved !== null) this.#moved = null;
    else this.#index = (this.#index + 1) % this.#configured.length;
  }

  /** Told when the current one works. */
  settle(): void {
    this.#moves = 0;
  }
}

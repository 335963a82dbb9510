/** Requests of the program's own, so that there is something to see. */

import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";

const TICK_MS = 50;
/** Requests a second on average; they swell and ebb within half a minute. */
const AVERAGE = 40;
const PERIOD_MS = 30_000;
/** Clients by their `appid`, those that ask most first; a part asks without one. */
const CLIENTS = ["checkout", "mobile", "search", "partner", "reports", "crawler"];
const NAMELESS = 0.4;
const PATHS = ["/", "/orders", "/orders/17", "/search?q=shoes", "/login"];
const TIMEOUT_MS = 10_000;

/** Asks a listener of the proxy again and again until it is disposed. */
export class DemoLoad implements Disposable {
  readonly #url: string;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #ended = new AbortController();
  #timer: Disposable | null = null;

  /** @param address of a listener without TLS, as `host:port` */
  constructor(address: string, clock: Clock, random: Random) {
    // A wildcard is every address of this machine.
    this.#url = `http://${address.replace(/^(?:0\.0\.0\.0|\[::\]):/, "127.0.0.1:")}`;
    this.#clock = clock;
    this.#random = random;
    this.#schedule();
  }

  #schedule(): void {
    this.#timer = this.#clock.setTimer(() => {
      const wave = 1 + 0.6 * Math.sin(this.#clock.now() / PERIOD_MS * 2 * Math.PI);
      const expected = AVERAGE * TICK_MS / 1000 * wave;
      const count = Math.floor(expected + this.#random());
      for (let n = 0; n < count; n++) this.#ask();
      this.#schedule();
    }, TICK_MS);
  }

  #ask(): void {
    const random = this.#random;
    const path = PATHS[Math.floor(random() * PATHS.length)]!;
    // Squared, so that the first ones ask far more often than the last.
    const client = CLIENTS[Math.floor(random() ** 2 * CLIENTS.length)]!;
    const headers: Record<string, string> = random() < NAMELESS ? {} : { appid: client };
    const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(TIMEOUT_MS)]);
    fetch(this.#url + path, { headers, redirect: "manual", signal })
      .then((response) => response.body?.cancel())
      // Whatever becomes of it is to be seen at the proxy.
      .catch(() => {});
  }

  [Symbol.dispose](): void {
    this.#timer?.[Symbol.dispose]();
    this.#ended.abort();
  }
}

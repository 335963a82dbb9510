/** What honest clients suffer while somebody makes up keys: the figures of the table in docs/limiting.md. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { RateLimiter } from "../../../lib/limiter/limiter.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { type KeyedSource, sourceOf } from "../../support/shared_clock.ts";

/** `maxKeys`; the figures of the page are those of 100,000, which are printed when this is set. */
const TABLE = Number(Deno.env.get("LIMITER_TABLE") ?? 10_000);
const SHOWS = Deno.env.has("LIMITER_TABLE");
const LIMIT = 10;
const NEWCOMERS = 2000;
const KNOWN = 250;
/** How much of their limit known clients have used before the attack. */
const USED = [1, 2, 5, 10] as const;

interface Suffered {
  /** Share of first requests of new clients that were refused. */
  readonly refused: number;
  /** How many of its limit a new client got. */
  readonly got: number;
  /** For each of `USED`: the share of known clients of which less is counted than they have used. */
  readonly lost: readonly number[];
  /** For each of `USED`: the share of known clients of which more is counted. */
  readonly overcounted: readonly number[];
}

class Scene implements Disposable {
  readonly limiter: RateLimiter<KeyedSource>;
  readonly #template = { ...sourceOf("") };

  constructor() {
    this.limiter = new RateLimiter<KeyedSource>(
      { key: (_, source) => source.key, limit: LIMIT, window: "1h" },
      { clock: new FakeClock(), random: seededRandom(15), maxKeys: TABLE },
    );
  }

  /** Asks so many times, and returns how often it was allowed. */
  ask(key: string, times = 1): number {
    let allowed = 0;
    for (let n = 0; n < times; n++) {
      if (this.limiter.check({ ...this.#template, key }).kind === "allowed") allowed++;
    }
    return allowed;
  }

  used(key: string): number {
    return LIMIT - this.limiter.statusOf(key)[0]!.remaining;
  }

  [Symbol.dispose](): void {
    this.limiter[Symbol.dispose]();
  }
}

/** Known clients come, then the attack, then new clients. */
function suffer(tables: number, hits: number): Suffered {
  using scene = new Scene();
  for (const used of USED) for (let n = 0; n < KNOWN; n++) scene.ask(`known${used}-${n}`, used);
  for (let n = 0; n < tables * TABLE; n++) scene.ask(`invented${n}`, hits);
  const counted = USED.map((used) =>
    Array.from({ length: KNOWN }, (_, n) => scene.used(`known${used}-${n}`) - used)
  );
  let refused = 0;
  let got = 0;
  for (let n = 0; n < NEWCOMERS; n++) {
    const allowed = scene.ask(`new${n}`, LIMIT + 1);
    if (allowed === 0) refused++;
    got += allowed;
  }
  return {
    refused: refused / NEWCOMERS,
    got: got / NEWCOMERS,
    lost: counted.map((each) => each.filter((more) => more < 0).length / KNOWN),
    overcounted: counted.map((each) => each.filter((more) => more > 0).length / KNOWN),
  };
}

/** The rows of the table in docs/limiting.md. */
const ROWS = [
  { tables: 1, hits: 1, lost: [0, 0, 0, 0] },
  { tables: 10, hits: 1, lost: [1, 0, 0, 0] },
  { tables: 100, hits: 1, lost: [1, 0, 0, 0] },
  { tables: 10, hits: 2, lost: [1, 1, 0, 0] },
  { tables: 10, hits: 10, lost: [1, 1, 1, 1] },
] as const;

for (const { tables, hits, lost } of ROWS) {
  Deno.test(`RateLimiter admits new clients after invented keys, ${tables} times the table, ${hits} requests each`, () => {
    const suffered = suffer(tables, hits);
    // deno-lint-ignore no-console
    if (SHOWS) console.log(JSON.stringify({ tables, hits, ...suffered }));
    assertLess(suffered.refused, 0.002);
    assert(suffered.got > 0.998 * LIMIT, `${suffered.got}`);
    // What known clients have used is forgotten only when invented keys have used as much.
    suffered.lost.forEach((share, i) => assert(share <= lost[i]!, `${USED[i]} used: ${share} lost`));
    suffered.overcounted.forEach((share, i) => assertLess(share, 0.02, `${USED[i]} used`));
  });
}

/** How often a client is allowed that asks 30 times, each time after so many tables of invented keys; on average of 100. */
function evade(tables: number): number {
  using scene = new Scene();
  for (let n = 0; n < 2 * TABLE; n++) scene.ask(`filler${n}`);
  let allowed = 0;
  let invented = 0;
  for (let round = 0; round < 30; round++) {
    for (let n = 0; n < 100; n++) allowed += scene.ask(`client${n}`);
    for (let n = 0; n < tables * TABLE; n++) scene.ask(`invented${invented++}`);
  }
  return allowed / 100;
}

Deno.test("RateLimiter forgets a client only for tables of invented keys between two of its requests", () => {
  assertEquals(evade(0.01), LIMIT);
  assertLess(evade(0.1), 1.02 * LIMIT);
  assertLess(evade(1), 1.15 * LIMIT);
});

Deno.test("RateLimiter goes on counting a client that uses its limit up while others invent keys", () => {
  using scene = new Scene();
  for (let n = 0; n < 3 * TABLE; n++) scene.ask(`filler${n}`);
  let allowed = 0;
  for (let n = 0; n < 100 * LIMIT; n++) {
    allowed += scene.ask("busy");
    for (let m = 0; m < TABLE / 100; m++) scene.ask(`invented${n}-${m}`);
  }
  assertEquals(allowed, LIMIT);
});

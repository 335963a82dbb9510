import { assert, assertEquals, assertLess } from "@std/assert";
import { seededRandom } from "../../../lib/core/random.ts";
import { Cursor } from "../../../lib/limiter/algorithm.ts";
import { DisplacedKeys } from "../../../lib/limiter/displaced_keys.ts";
import type { AlgorithmName } from "../../../lib/limiter/policy.ts";
import { DISPLACED_ROWS, HEADER, TICK_US, tickOf } from "../../../lib/limiter/table_layout.ts";
import { shareOf } from "../../../lib/limiter/charge.ts";

const WINDOW = 60_000_000;

function makeDisplaced(cells: number): DisplacedKeys {
  const words = new Int32Array(new SharedArrayBuffer((HEADER.size + 2 * DISPLACED_ROWS * cells) * 4));
  return new DisplacedKeys(words, HEADER.size, cells);
}

function remember(displaced: DisplacedKeys, low: number, share: number, until: number, now = 0): void {
  displaced.remember(low, low ^ 7, share, tickOf(until, now), Math.floor(now / TICK_US));
}

function seed(displaced: DisplacedKeys, low: number, algorithm: AlgorithmName, now: number, limit: number) {
  const cursor = new Cursor();
  cursor.low = low;
  cursor.high = low ^ 7;
  const rule = { limit, burst: limit, windowUs: WINDOW, penalize: false, bounded: true };
  displaced.seed(cursor, algorithm, now, rule);
  return cursor;
}

Deno.test("DisplacedKeys gives back what was used, to the request for limits of up to 255, and never less", () => {
  for (const limit of [1, 2, 3, 10, 100, 255, 256, 1000, 1_000_000]) {
    for (let used = 1; used <= Math.min(limit, 1000); used++) {
      const displaced = makeDisplaced(64);
      remember(displaced, 5, shareOf(used, limit), WINDOW);
      const { b } = seed(displaced, 5, "fixed-window", 0, limit);
      assert(b >= used && b <= used + (limit > 255 ? limit / 255 : 0), `${b} for ${used} of ${limit}`);
    }
  }
});

Deno.test("DisplacedKeys gives each algorithm a state that ends when the one before it did", () => {
  const displaced = makeDisplaced(64);
  remember(displaced, 5, shareOf(3, 10), WINDOW);
  const end = tickOf(WINDOW, 0) * TICK_US - 1;
  const fixed = seed(displaced, 5, "fixed-window", 1e5, 10);
  assertEquals([fixed.a, fixed.b, fixed.c], [end, 3, 0]);
  const sliding = seed(displaced, 5, "sliding-window", 1e5, 10);
  assertEquals([sliding.a, sliding.b, sliding.c], [end, 0, 3]);
  const bucket = seed(displaced, 5, "token-bucket", 1e5, 10);
  assertEquals([bucket.a, bucket.b, bucket.c], [1e5 + 3 * WINDOW / 10, 3 * WINDOW, 1e5]);
  // Near its end a bucket has filled but for what comes back until then.
  assertEquals(seed(displaced, 5, "token-bucket", end - 50, 10).b, 500);
  const places = seed(displaced, 5, "concurrency", 1e5, 10);
  assertEquals([places.a, places.b, places.c], [0, 0, 0]);
});

Deno.test("DisplacedKeys remembers for no longer when a key is displaced again and again", () => {
  const displaced = makeDisplaced(64);
  let until = WINDOW;
  for (let n = 0; n < 100; n++) {
    remember(displaced, 5, shareOf(3, 10), until, n);
    until = seed(displaced, 5, "fixed-window", n, 10).a;
  }
  assertLess(until, WINDOW + TICK_US);
  assertEquals(seed(displaced, 5, "fixed-window", WINDOW + TICK_US, 10).b, 0);
  assertEquals(displaced.isActive(Math.floor(WINDOW / TICK_US)), true);
  assertEquals(displaced.isActive(Math.floor(WINDOW / TICK_US) + 1), false);
});

Deno.test("DisplacedKeys remembers what was displaced last, and takes few others for it", () => {
  const displaced = makeDisplaced(8192);
  const random = seededRandom(9);
  const lows = Array.from({ length: 200_000 }, () => Math.floor(random() * 2 ** 32) | 0);
  let mistaken = 0;
  lows.forEach((low, n) => {
    if (seed(displaced, low, "fixed-window", 0, 10).b > 0) mistaken++;
    remember(displaced, low, shareOf(10, 10), WINDOW);
    // An eighth of 8,192 cells.
    if (n >= 1000 && n % 50 === 0) {
      assertEquals(seed(displaced, lows[n - 1000]!, "fixed-window", 0, 10).b, 10);
    }
  });
  assertLess(mistaken / lows.length, 0.0006);
});

Deno.test("DisplacedKeys does not take what has expired long ago for something of now", () => {
  const displaced = makeDisplaced(64);
  remember(displaced, 5, shareOf(3, 10), WINDOW);
  for (let hours = 1; hours < 150; hours++) {
    assertEquals(seed(displaced, 5, "fixed-window", hours * 3.6e9, 10).b, 0, `after ${hours} hours`);
  }
});

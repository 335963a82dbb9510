/** Time and requests for tests with several Workers. */

import type { Clock } from "../../lib/core/clock.ts";
import type { KeySource } from "../../lib/limiter/key_spec.ts";

/** A request with a key set by the test. */
export interface KeyedSource extends KeySource {
  readonly key: string;
}

const REQUEST = new Request("http://a.example/");

/** Makes a request with a key. */
export function sourceOf(key: string): KeyedSource {
  return { request: REQUEST, clientIp: "192.0.2.1", target: "/", host: "a.example", key };
}

/** A clock that reads shared memory, in microseconds. */
export function sharedClock(memory: SharedArrayBuffer): Clock {
  const time = new Int32Array(memory);
  const now = (): number => Atomics.load(time, 0) / 1000;
  return {
    now,
    wallTime: now,
    setTimer(): Disposable {
      throw new Error("nobody sets timers here");
    },
  };
}

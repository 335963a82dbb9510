/** The one list of what a transport does; `transport_test.ts` runs it on each of them. */

import type { Behaviour } from "./behaviour.ts";
import { BODIES } from "./behaviours/bodies.ts";
import { CANCELLATIONS } from "./behaviours/cancellations.ts";
import { FAILURES } from "./behaviours/failures.ts";
import { FORWARDING } from "./behaviours/forwarding.ts";
import { FRAMING } from "./behaviours/framing.ts";
import { HOSTILITY } from "./behaviours/hostility.ts";
import { KEEP_ALIVE } from "./behaviours/keep_alive.ts";
import { SECURITY } from "./behaviours/security.ts";
import { TIMEOUTS } from "./behaviours/timeouts.ts";

/** Every behaviour, by subject. */
export const TRANSPORT_SUITE: Readonly<Record<string, readonly Behaviour[]>> = {
  forwarding: FORWARDING,
  framing: FRAMING,
  bodies: BODIES,
  failures: FAILURES,
  timeouts: TIMEOUTS,
  cancellation: CANCELLATIONS,
  "keep-alive": KEEP_ALIVE,
  security: SECURITY,
  hostility: HOSTILITY,
};

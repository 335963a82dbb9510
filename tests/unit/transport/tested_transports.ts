/** The transports, and in one place what each of them cannot do. */

import { systemClock } from "../../../lib/core/clock.ts";
import type { DeadlineWheel } from "../../../lib/core/cancellation.ts";
import { FetchTransport } from "../../../lib/transport/fetch/fetch_transport.ts";
import { Http1Transport } from "../../../lib/transport/http1/http1_transport.ts";
import { Http2Transport } from "../../../lib/transport/http2/http2_transport.ts";
import type { Transport } from "../../../lib/transport/transport.ts";

/** What not every transport can do. */
export type Ability =
  /** Sends every target as it is; without it, those that would be changed are refused. */
  | "every target"
  /** Sends the fields that it is given in their order, and no others. */
  | "exact request fields"
  /** Gives the reason and every field line of an answer as they came. */
  | "exact response fields"
  /** Sends a body with GET, TRACE requests, and methods in lower case. */
  | "every method"
  /** Knows when a connection stands. */
  | "connect timeout"
  /** Tells failures apart by more than the words of a message. */
  | "reason of the failure"
  /** Sends `content-length: 0` for a POST without content. */
  | "empty POST with a length"
  /** Has a connection free for the next request by the time that a body ends. */
  | "reuse at once"
  /** Closes the connection of a handshake that hangs; the runtime's own TLS leaves that to the server. */
  | "abandon a handshake"
  /** Accepts nothing of a response that RFC 9112 forbids. */
  | "strict parsing"
  /** Sends `Host` where it stands among the fields, and each line of a cookie as a line. */
  | "field lines of HTTP/1.1"
  /** Gives the reason of a status. */
  | "reason phrase"
  /** Speaks HTTP/1.1 behind TLS. */
  | "HTTP/1.1 behind TLS";

/** A transport under test. */
export interface TestedTransport {
  readonly name: string;
  readonly cannot: ReadonlySet<Ability>;
  /** Whether it speaks HTTP/2, so that servers of HTTP/1.1 without TLS are reached by a bridge. @default {false} */
  readonly bridged?: boolean;
  create(wheel: DeadlineWheel): Transport;
}

/** All transports that the suite is run on. */
export const TESTED_TRANSPORTS: readonly TestedTransport[] = [
  {
    name: "fetch",
    cannot: new Set<Ability>([
      "every target",
      "exact request fields",
      "exact response fields",
      "every method",
      "connect timeout",
      "reason of the failure",
      "empty POST with a length",
      "reuse at once",
      "strict parsing",
      "reason phrase",
    ]),
    create: (wheel) => new FetchTransport({ wheel }),
  },
  {
    name: "http1",
    cannot: new Set<Ability>(["abandon a handshake"]),
    create: (wheel) => new Http1Transport({ wheel, clock: systemClock }),
  },
  {
    name: "h2",
    // The bridge has one word for all that goes wrong behind it.
    cannot: new Set<Ability>([
      "abandon a handshake",
      "reason of the failure",
      "field lines of HTTP/1.1",
      "reason phrase",
      "HTTP/1.1 behind TLS",
    ]),
    bridged: true,
    create: (wheel) => new Http2Transport({ wheel, clock: systemClock }),
  },
];

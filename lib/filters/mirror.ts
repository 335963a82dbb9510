/** Copies of requests to other servers, whose responses are dropped. */

import {
  byteSize,
  choose,
  DURATION_ABOVE_0,
  FUNCTION,
  isRecord,
  object,
  oneOrMore,
  required,
  SHARE,
  text,
  wholeOrInfinity,
} from "../core/options.ts";
import { type ByteSize, type Duration, parseByteSize, parseDuration } from "../core/units.ts";
import { checkedBoolean, messageOf, stackOf, unexpected } from "../core/callback.ts";
import {
  type BackgroundRequest,
  type FilterServices,
  type RequestContext,
  servicesOf,
} from "../filter/request_context.ts";
import { type Filters, keepLength, named, type UpstreamRequest } from "../filter/filters.ts";
import { findPeerProblem, type PeerOptions, resolvePeer } from "../filter/resolve_peer.ts";
import { ADDRESS, UPSTREAM_TLS } from "../config/server_options.ts";
import { parseAddress, type Peer } from "../upstream/peer.ts";
import { HeaderFields } from "../http/header_fields.ts";
import type { Pool } from "../upstream/pool.ts";
import { checkFilter } from "./filter_support.ts";

/** The available servers of a configured pool, in turn. */
type MirrorPool = Extract<MirrorTarget, { pool: string }>;

/** A destination of copies: an address, an address with TLS options, or a pool. */
type MirrorTarget = Exclude<MirrorOptions["to"], readonly unknown[]>;

/** Options of {@linkcode mirror}. */
export interface MirrorOptions {
  /**
   * Destinations of copies, in turn: addresses of servers, with TLS or without, or `{ pool }` with the name of a pool.
   */
  to:
    | string
    | PeerOptions
    | {
      /** Name of the pool. */
      pool: string;
    }
    | readonly (string | PeerOptions | {
      /** Name of the pool. */
      pool: string;
    })[];
  /** The share of requests that are copied, 0 to 1. @default {1} */
  share?: number;
  /**
   * Selects requests to copy; must not be async. If it throws, the request is not copied, and the error is logged.
   *
   * @default {all}
   */
  when?: (ctx: RequestContext) => boolean;
  /** Maximum number of concurrent copies; further requests are not copied. @default {16} */
  maxInFlight?: number;
  /** Requests with longer content are not copied. @default {"64KiB"} */
  maxBodySize?: ByteSize;
  /** Timeout of a copy, including its response. @default {"5s"} */
  timeout?: Duration;
  /** Random numbers for the share. @default {the proxy's} */
  random?: () => number;
}

type Bytes = Uint8Array<ArrayBuffer>;

const TARGET_EXPECTED = 'an address, { address, tls }, { pool: "name" } or an array of these';
const POOL = object<MirrorPool>({ pool: required(text("the name of a pool")) }, TARGET_EXPECTED);
const PEER = object<PeerOptions>({ address: required(ADDRESS), tls: UPSTREAM_TLS }, TARGET_EXPECTED, {
  check({ address, tls }, report) {
    const parsed = typeof address === "string" ? parseAddress(address) : undefined;
    const problem = parsed === undefined ? undefined : findPeerProblem(parsed, tls, {});
    if (problem !== undefined) report(problem);
  },
});
const TARGET = choose((target) =>
  typeof target === "string" ? ADDRESS : isRecord(target) && "pool" in target ? POOL : PEER
);

const OPTIONS = object<MirrorOptions>({
  to: required(oneOrMore(TARGET, TARGET_EXPECTED)),
  share: SHARE,
  when: FUNCTION,
  maxInFlight: wholeOrInfinity(1),
  maxBodySize: byteSize(),
  timeout: DURATION_ABOVE_0,
  random: FUNCTION,
}, 'an object with "to"');

/**
 * Sends a copy of a share of requests to other servers, and drops the responses.
 *
 * The client does not wait for copies, and their results do not affect it. A copy is the request to the server as
 * edited by the filters before this one (put it last). It is recorded while the content passes, and sent when the
 * content is complete. Copies in progress are cancelled when the proxy stops. Failures are logged at debug level.
 * Copies use HTTP/1.1, do not count as requests in flight of their servers, and do not affect their health.
 *
 * @throws {TypeError} when an option is invalid
 *
 * @example
 * ```ts
 * import { defineConfig, mirror } from "@x/lbproxy";
 *
 * export default defineConfig({
 *   upstreams: {
 *     default: { servers: ["127.0.0.1:9001"] },
 *     next: { servers: ["127.0.0.1:9002", "127.0.0.1:9003"] },
 *   },
 *   filters: [mirror({ to: { pool: "next" }, share: 0.1 })],
 * });
 * ```
 */
export function mirror(options: MirrorOptions): Filters {
  checkFilter("mirror", OPTIONS, options);
  const { to, share = 1, when = () => true, maxInFlight = 16, random } = options;
  const { maxBodySize = "64KiB", timeout = "5s" } = options;
  const targets = new MirrorTargets(Array.isArray(to) ? to : [to]);
  let inFlight = 0;
  const common: CopyOptions = {
    maxBytes: parseByteSize(maxBodySize)!,
    timeoutMs: parseDuration(timeout)!,
    nextPeer: (origin) => targets.next(origin),
    onEnd: () => void inFlight--,
  };
  const copies = new WeakMap<RequestContext, RequestCopy>();
  const wanted = (ctx: RequestContext): boolean => {
    try {
      const drawn = (random ?? servicesOf(ctx).random)();
      if (!(drawn >= 0 && drawn <= 1)) throw unexpected("a number from 0 to 1", drawn);
      return drawn < share && checkedBoolean(when(ctx));
    } catch (error) {
      ctx.log.error(`Cannot tell whether to mirror a request: ${messageOf(error)}`, {
        stack: stackOf(error),
      });
      return false;
    }
  };
  return named("mirror", {
    requestFilter: (_request, ctx) => {
      if (inFlight >= maxInFlight || !wanted(ctx)) return;
      // A WebSocket cannot be copied.
      if (ctx.request.headers.has("upgrade")) return;
      copies.set(ctx, new RequestCopy(ctx, common));
      inFlight++;
    },
    requestBodyFilter: (body, ctx) => {
      const copy = copies.get(ctx);
      return copy === undefined ? undefined : keepLength(body.pipeThrough(copy.tap()));
    },
    upstreamRequestFilter: (request: UpstreamRequest, ctx) => {
      const { method, target, headers } = request;
      // Only the first attempt is used; others are of the same request.
      copies.get(ctx)?.takeHead({ method, target, headers: HeaderFields.adopt(headers.toList()) });
    },
    logging: (ctx) => copies.get(ctx)?.abandon(),
  });
}

/** Selects the targets in turn. */
class MirrorTargets {
  readonly #targets: readonly (Peer | MirrorPool)[];
  #turn = 0;
  #poolTurn = 0;

  constructor(targets: readonly MirrorTarget[]) {
    this.#targets = targets.map((target) => {
      if (typeof target === "string") return resolvePeer(target);
      return "pool" in target ? target : resolvePeer(target.address, target.tls);
    });
  }

  /** The server for the next copy; `null` if there is none, which is logged. */
  next({ pools, log }: CopiedRequest): Peer | null {
    const target = this.#targets[this.#turn++ % this.#targets.length]!;
    if (!("pool" in target)) return target;
    const pool = pools.get(target.pool);
    if (pool === undefined) {
      const known = [...pools.keys()].map((name) => `"${name}"`).join(", ");
      log.warn(`Cannot mirror to the pool "${target.pool}": there are ${known}`);
      return null;
    }
    const peer = this.#serverOf(pool);
    if (peer === null) {
      log.debug(`Cannot mirror to the pool "${target.pool}": none of its servers can be used`);
    }
    return peer;
  }

  #serverOf({ servers }: Pool): Peer | null {
    const usable = servers.filter((server) => server.eligible && server.weight > 0);
    const first = usable.filter(({ backup }) => !backup);
    const among = first.length > 0 ? first : usable;
    return among.length === 0 ? null : among[this.#poolTurn++ % among.length]!.peer;
  }
}

/** Parts of the copied request, which may end before its copy. */
type CopiedRequest = Pick<RequestContext, "pools" | "log">;

/** Options shared by the copies of one filter. */
interface CopyOptions {
  /** Requests with more content are not copied. */
  readonly maxBytes: number;
  /** Timeout of a copy, including its response. */
  readonly timeoutMs: number;
  /** The server for the next copy; `null` if there is none. */
  readonly nextPeer: (origin: CopiedRequest) => Peer | null;
  /** Called once for each copy, when it has been sent or abandoned. */
  readonly onEnd: () => void;
}

/** A copy, which is sent when head and content are complete. */
class RequestCopy {
  readonly #options: CopyOptions;
  readonly #origin: CopiedRequest;
  readonly #services: FilterServices;
  #head: Omit<BackgroundRequest, "content"> | null = null;
  #pieces: Bytes[] | null = null;
  #bytes = 0;
  #complete = true;
  #ended = false;

  constructor(ctx: RequestContext, options: CopyOptions) {
    this.#options = options;
    this.#origin = { pools: ctx.pools, log: ctx.log };
    this.#services = servicesOf(ctx);
  }

  /** A stream that records content and passes it unchanged. */
  tap(): TransformStream<Bytes, Bytes> {
    this.#pieces = [];
    this.#complete = false;
    return new TransformStream<Bytes, Bytes>({
      transform: (piece, controller) => {
        controller.enqueue(piece);
        this.#record(piece);
      },
      flush: () => {
        this.#complete = true;
        this.#sendIfComplete();
      },
    });
  }

  /** Sets the head; only the first call counts. */
  takeHead(head: Omit<BackgroundRequest, "content">): void {
    if (this.#head !== null) return;
    this.#head = head;
    this.#sendIfComplete();
  }

  /** Abandons the copy unless it has been sent: its content is too long, or the request has ended too early. */
  abandon(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#pieces = null;
    this.#options.onEnd();
  }

  #record(piece: Bytes): void {
    if (this.#ended) return;
    this.#bytes += piece.byteLength;
    if (this.#bytes > this.#options.maxBytes) return this.abandon();
    this.#pieces!.push(piece.slice());
  }

  #sendIfComplete(): void {
    if (this.#ended || this.#head === null || !this.#complete) return;
    this.#ended = true;
    const content = this.#pieces === null ? null : joined(this.#pieces, this.#bytes);
    this.#pieces = null;
    void this.#send({ ...this.#head, content });
  }

  async #send(request: BackgroundRequest): Promise<void> {
    const { nextPeer, timeoutMs, onEnd } = this.#options;
    try {
      const peer = nextPeer(this.#origin);
      if (peer !== null) await this.#services.sendInBackground(request, peer, timeoutMs);
    } catch (error) {
      this.#origin.log.debug("A mirrored request failed", { reason: messageOf(error) });
    } finally {
      onEnd();
    }
  }
}

function joined(pieces: readonly Bytes[], length: number): Bytes {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.byteLength;
  }
  return whole;
}

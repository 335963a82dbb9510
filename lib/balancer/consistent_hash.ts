/** Consistent hashing: a key has the same server as long as that server is available. */

import type { Clock } from "../core/clock.ts";
import type { Address } from "../upstream/peer.ts";
import type { Server } from "../upstream/server.ts";
import type { Algorithm, Candidates, Selection } from "./algorithm.ts";
import { createRoundRobin, type SharedTurns } from "./smooth_weighted_round_robin.ts";

/** Options of {@linkcode ConsistentHash}. */
interface ConsistentHashOptions {
  /**
   * How many times its share of the requests in flight a server may have before its keys go to the next server on the
   * ring; above 1. `Infinity` is no bound. @default {Infinity}
   */
  loadFactor?: number;
  /** Round-robin turns for requests without a key, if several processes share them. @default {null} */
  turns?: SharedTurns | null;
}

/** A ring and the state of the servers on it. */
interface Built {
  readonly members: readonly Server[];
  readonly ring: KetamaRing;
  /** Per member: whether it is a candidate now, and the number of the last choice that refused it. */
  readonly usable: Uint8Array;
  readonly refusedIn: Float64Array;
  /** Number of usable members. */
  count: number;
}

/**
 * Consistent hashing on a {@linkcode KetamaRing}. If a server cannot be used, only its keys move, each to the next server on
 * the ring; they move back when it can be used again. Requests without a key use round robin.
 *
 * With a load factor, this is consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, 2016).
 */
export class ConsistentHash implements Algorithm {
  readonly #clock: Clock;
  readonly #loadFactor: number;
  readonly #turns: Algorithm;
  #built: Built | null = null;
  #candidates: Candidates | null = null;
  #rebuild: Disposable | null = null;
  #choices = 0;

  constructor(clock: Clock, { loadFactor = Infinity, turns = null }: ConsistentHashOptions = {}) {
    this.#turns = createRoundRobin(turns);
    this.#clock = clock;
    this.#loadFactor = loadFactor;
  }

  pick(candidates: Candidates, selection: Selection): Server | undefined {
    if (selection.key === undefined) return this.#turns.pick(candidates, selection);
    const built = candidates === this.#candidates ? this.#built! : this.#refresh(candidates);
    const start = built.ring.find(selection.key);
    let server = this.#walk(built, start, candidates, selection, this.#loadFactor);
    // If every server below the bound was refused, a server above it is better than none.
    if (this.#loadFactor !== Infinity) server ??= this.#walk(built, start, candidates, selection, Infinity);
    if (server !== undefined || built.members === candidates.members) return server;
    // The remaining servers are new, and not on the ring yet.
    return this.#turns.pick(candidates, selection);
  }

  prepare(candidates: Candidates): void {
    if (this.#built !== null && this.#built.members === candidates.members) return;
    this.#candidates = candidates;
    this.#build(candidates);
  }

  #walk(
    built: Built,
    start: number,
    candidates: Candidates,
    selection: Selection,
    loadFactor: number,
  ): Server | undefined {
    const { ring, members, usable, refusedIn } = built;
    const choice = ++this.#choices;
    let left = built.count;
    const perWeight = loadFactor * (candidates.load.inFlight + 1) / candidates.totalWeight;
    let point = start;
    for (let steps = ring.length; steps > 0 && left > 0; steps--) {
      const node = ring.nodeAt(point);
      if (++point === ring.length) point = 0;
      if (usable[node] === 0 || refusedIn[node] === choice) continue;
      const server = members[node]!;
      if (server.inFlight < Math.ceil(perWeight * server.effectiveWeight) && selection.accepts(server)) {
        return server;
      }
      refusedIn[node] = choice;
      left--;
    }
    return undefined;
  }

  /** Marks the usable servers. Builds the ring for new members by a timer, so that no request waits for it. */
  #refresh(candidates: Candidates): Built {
    this.#candidates = candidates;
    const built = this.#built;
    if (built === null) return this.#build(candidates);
    if (built.members !== candidates.members) {
      this.#rebuild ??= this.#clock.setTimer(() => this.#replace(), 0);
    }
    markUsable(built, candidates);
    return built;
  }

  #replace(): void {
    if (this.#candidates !== null) this.#build(this.#candidates);
  }

  #build(candidates: Candidates): Built {
    this[Symbol.dispose]();
    const { members } = candidates;
    const ring = new KetamaRing(members.map(({ peer: { address }, weight }) => ({ address, weight })));
    this.#built = {
      members,
      ring,
      usable: new Uint8Array(members.length),
      refusedIn: new Float64Array(members.length),
      count: 0,
    };
    markUsable(this.#built, candidates);
    return this.#built;
  }

  /** Cancels a pending rebuild of the ring. */
  [Symbol.dispose](): void {
    this.#rebuild?.[Symbol.dispose]();
    this.#rebuild = null;
  }
}

function markUsable(built: Built, { servers }: Candidates): void {
  const candidates = new Set(servers);
  built.count = 0;
  built.members.forEach((server, node) => {
    built.usable[node] = candidates.has(server) ? 1 : 0;
    built.count += built.usable[node]!;
  });
}

// The hash ring of libketama, as nginx builds it.

/** A server on a ring. */
export interface RingNode {
  readonly address: Address;
  readonly weight: number;
}

/** Points on the ring per unit of weight. */
const POINTS = 160;
/** Most points of a ring: 8 MiB, and about 40 ms to build. */
const MAX_POINTS = 1 << 20;

/**
 * Consistent hashing: each node owns the arcs of a circle of 2^32 that end at its points. Adding or removing a node changes
 * the owner of its own arcs only.
 *
 * A point is the CRC-32 of host, NUL, port and the previous point (as four bytes, little-endian). A unit of weight has 160
 * points. The result for each key is the same as with `hash KEY consistent` in nginx, and with pingora-ketama.
 *
 * If that were more than 2^20 points, each node keeps the same fraction of its points, the first ones, so that adding or
 * removing a node moves few other keys.
 */
export class KetamaRing {
  readonly #hashes: Uint32Array;
  readonly #nodes: Uint32Array;

  /** Takes about 20 ms for 1,000 nodes of weight 1, so do not call it while a request waits. */
  constructor(nodes: readonly RingNode[]) {
    const counts = countPoints(nodes);
    const size = counts.reduce((sum, count) => sum + count, 0);
    const hashes = new Uint32Array(size);
    const owners = new Uint32Array(size);
    let end = 0;
    nodes.forEach(({ address }, node) => {
      const base = crc32Update(crc32Update(CRC32_START, nodeName(address)), nodePort(address));
      let previous = 0;
      for (let i = 0; i < counts[node]!; i++) {
        previous = crc32End(crc32Word(base, previous));
        hashes[end] = previous;
        owners[end++] = node;
      }
    });
    sortPairs(hashes, owners);
    const length = dropRepeated(hashes, owners);
    this.#hashes = hashes.subarray(0, length);
    this.#nodes = owners.subarray(0, length);
  }

  /** Number of points. */
  get length(): number {
    return this.#hashes.length;
  }

  /** The index of the node that a point belongs to. */
  nodeAt(point: number): number {
    return this.#nodes[point]!;
  }

  /** The point that owns a key: the first at or after its hash, with wrap-around; -1 on an empty ring. */
  find(key: string | Uint8Array): number {
    const hashes = this.#hashes;
    if (hashes.length === 0) return -1;
    const hash = crc32(key);
    let low = 0;
    let high = hashes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (hashes[middle]! < hash) low = middle + 1;
      else high = middle;
    }
    return low === hashes.length ? 0 : low;
  }
}

function countPoints(nodes: readonly RingNode[]): number[] {
  const counts = nodes.map(({ weight }) => Math.round(weight * POINTS));
  const wanted = counts.reduce((sum, count) => sum + count, 0);
  if (wanted <= MAX_POINTS) return counts;
  const part = MAX_POINTS / wanted;
  return counts.map((count) => count === 0 ? 0 : Math.max(1, Math.floor(count * part)));
}

/** Removes all but the first of points with the same hash, as nginx does; returns the number of remaining points. */
function dropRepeated(hashes: Uint32Array, owners: Uint32Array): number {
  let length = 0;
  for (let i = 0; i < hashes.length; i++) {
    if (length > 0 && hashes[length - 1] === hashes[i]) continue;
    hashes[length] = hashes[i]!;
    owners[length++] = owners[i]!;
  }
  return length;
}

function nodeName(address: Address): string {
  return `${address.kind === "unix" ? address.path : address.hostname}\0`;
}

function nodePort(address: Address): string {
  return address.kind === "unix" ? "" : String(address.port);
}

const DIGIT_BITS = 11;
const DIGITS = 1 << DIGIT_BITS;

/**
 * Sorts `keys` in ascending order, and `values` with them. Stable.
 *
 * A radix sort with three passes: ten times as fast as a comparison sort.
 */
function sortPairs(keys: Uint32Array<ArrayBuffer>, values: Uint32Array<ArrayBuffer>): void {
  let [fromKeys, fromValues] = [keys, values];
  let [toKeys, toValues] = [new Uint32Array(keys.length), new Uint32Array(keys.length)];
  for (let shift = 0; shift < 32; shift += DIGIT_BITS) {
    const next = new Uint32Array(DIGITS + 1);
    for (let i = 0; i < fromKeys.length; i++) next[((fromKeys[i]! >>> shift) & (DIGITS - 1)) + 1]!++;
    for (let digit = 1; digit < DIGITS; digit++) next[digit]! += next[digit - 1]!;
    for (let i = 0; i < fromKeys.length; i++) {
      const place = next[(fromKeys[i]! >>> shift) & (DIGITS - 1)]!++;
      toKeys[place] = fromKeys[i]!;
      toValues[place] = fromValues[i]!;
    }
    [fromKeys, fromValues, toKeys, toValues] = [toKeys, toValues, fromKeys, fromValues];
  }
  keys.set(fromKeys);
  values.set(fromValues);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
  return value;
});

/** The initial state of a checksum. */
const CRC32_START = 0xffffffff;

/** Adds one byte. */
function crc32Byte(state: number, byte: number): number {
  return (state >>> 8) ^ TABLE[(state ^ byte) & 0xff]!;
}

/** Adds a number as four bytes, little-endian. */
function crc32Word(state: number, word: number): number {
  for (let shift = 0; shift < 32; shift += 8) state = crc32Byte(state, word >>> shift);
  return state;
}

/** Adds bytes, or a text as UTF-8. */
function crc32Update(state: number, data: string | Uint8Array): number {
  if (typeof data !== "string") {
    for (let i = 0; i < data.length; i++) state = crc32Byte(state, data[i]!);
    return state;
  }
  for (let i = 0; i < data.length; i++) {
    const unit = data.charCodeAt(i);
    // Keys are rarely other than ASCII, and an encoder costs more than the checksum itself.
    if (unit > 0x7f) return crc32Update(state, new TextEncoder().encode(data.slice(i)));
    state = crc32Byte(state, unit);
  }
  return state;
}

/** The checksum of a state. */
function crc32End(state: number): number {
  return ~state >>> 0;
}

/** The checksum of IEEE 802.3 (CRC-32) of bytes, or of a text as UTF-8. */
export function crc32(data: string | Uint8Array): number {
  return crc32End(crc32Update(CRC32_START, data));
}

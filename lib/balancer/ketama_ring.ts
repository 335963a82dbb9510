/** The hash ring of libketama, as nginx builds it. */

import type { Address } from "../upstream/address.ts";
import { crc32, CRC32_START, crc32End, crc32Update, crc32Word } from "./crc32.ts";
import { sortPairs } from "./radix_sort.ts";

/** A server on the ring. */
export interface RingNode {
  readonly address: Address;
  readonly weight: number;
}

/** Points on the ring for each unit of weight. */
const POINTS = 160;
/** Points of the whole ring at most: 8 MiB, and about 40 ms to build. */
const MAX_POINTS = 1 << 20;

/**
 * Consistent hashing: each node owns the stretches of a circle of 2^32 that end at its points. A node that comes or
 * goes changes the owner of its own stretches only.
 *
 * Points are the CRC-32 of host, NUL, port and the point before (as four bytes, the lowest first), 160 a unit of
 * weight: the same as `hash KEY consistent` of nginx and as pingora-ketama, key for key.
 *
 * Where that would be more than 2^20 points, each node gets the same part of its own. They stay the first of what it
 * would have, so that a node more or less moves few other keys.
 */
export class KetamaRing {
  readonly #hashes: Uint32Array;
  readonly #nodes: Uint32Array;

  /** Takes about 20 ms for 1,000 nodes of weight 1, so not while a request waits. */
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

  /** Which node a point belongs to, by its number in the list. */
  nodeAt(point: number): number {
    return this.#nodes[point]!;
  }

  /** The point that owns a key: the first one at or after its hash, around the circle; -1 on an empty ring. */
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

/** Keeps the first of points with the same hash, as nginx does; returns how many are left. */
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
